"""Packages that register Gymnasium ids: found by a plain id, whose module nobody has imported yet.

Gymnasium reads the entry points of the group `gymnasium.envs` no more (since 1.0), but packages
still declare them; they are loaded here when one of their ids is asked for.
"""

import importlib
import importlib.util
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

import gymnasium
from gymnasium.envs.registration import namespace

from envs.errors import EnvFault, UnknownEnv
from envs.guarded_calls import MAKE_SECONDS, guarded

GROUP = "gymnasium.envs"
_WITHOUT_NAMESPACE = ("__root__", "__internal__")
# Beginning of an id → the module to import, and the package to install where its name differs.
_REGISTERED_BY = {
    "ALE/": ("ale_py", "ale-py"),
    "BabyAI-": ("minigrid", "minigrid"),
    "Fetch": ("gymnasium_robotics", "gymnasium-robotics"),
    "FrankaKitchen-": ("gymnasium_robotics", "gymnasium-robotics"),
    "HandManipulate": ("gymnasium_robotics", "gymnasium-robotics"),
    "LunarLanderMulti": ("mo_gymnasium", "mo-gymnasium"),
    "Meta-World/": ("metaworld", "metaworld"),
    "MiniGrid-": ("minigrid", "minigrid"),
    "MiniWorld-": ("miniworld", "miniworld"),
    "NetHack": ("nle", "nle"),
    "browsergym/": ("browsergym", "browsergym"),
    "highway-": ("highway_env", "highway-env"),
    "miniwob/": ("miniwob", "miniwob"),
    "parking-": ("highway_env", "highway-env"),
}


def registered_by(env_id: str) -> str:
    """The installed module that registers an id by its beginning; "" for none."""
    module, package = next(
        (found for prefix, found in _REGISTERED_BY.items() if env_id.startswith(prefix)), ("", "")
    )
    if not module or env_id in gymnasium.registry:
        return ""
    if importlib.util.find_spec(module) is None:
        raise UnknownEnv(
            f"'{env_id}' is registered by the package {package}, which is not installed: pip"
            f" install {package}; then {module}:{env_id} or {env_id} will do."
        )
    return module


def plugins(env_id: str) -> tuple[EntryPoint, ...]:
    """The entry points that may register an id which is not registered yet."""
    if env_id in gymnasium.registry or ":" in env_id:
        return ()
    space = env_id.rpartition("/")[0]
    wanted = (space,) if space else _WITHOUT_NAMESPACE
    return tuple(entry for entry in entry_points(group=GROUP) if entry.name in wanted)


def load_plugins(found: Iterable[EntryPoint]) -> None:
    """Call entry points as Gymnasium did: each registers environments in its own namespace."""
    for entry in found:
        register = guarded(entry.name, MAKE_SECONDS, entry.load)
        if not callable(register):
            continue  # a module: it registered when it was imported
        if entry.name in _WITHOUT_NAMESPACE:
            guarded(entry.name, MAKE_SECONDS, register)
        else:
            with namespace(entry.name):
                guarded(entry.name, MAKE_SECONDS, register)


def import_module(module: str) -> None:
    """Import somebody's module.

    Raises:
        ModuleNotFoundError: There is no such module.
        UnknownEnv: It exits or raises, or a module that it imports is missing.
    """
    try:
        guarded(module, MAKE_SECONDS, importlib.import_module, module)
    except EnvFault as error:
        raise UnknownEnv(f"The module '{module}' cannot be imported: {error}.") from error
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise
        raise UnknownEnv(
            f"The module '{module}' cannot be imported: it needs the module '{error.name}', which"
            " is not installed."
        ) from error
    except gymnasium.error.DependencyNotInstalled:  # it names the package
        raise
    except Exception as error:  # a module runs anything when it is imported
        said = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        raise UnknownEnv(f"The module '{module}' cannot be imported: {said}") from error
