"""The Gymnasium environment inside an adapter: making it, describing it, hashing its sources."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import gymnasium

from envs.adapters.text_spaces import SpaceText
from envs.errors import EnvError, EnvFault, UnknownEnv, UnknownOption, option_key
from envs.guarded_calls import MAKE_SECONDS, guarded

# The name and source of SpaceText when its texts last changed. They enter fingerprints, and a
# renamed variable must not: ADAPTER_VERSION counts changes of behaviour.
_SPACE_TEXT_SOURCE = "Spoken b5d7b7574a153d3b5ec19d0699f8a36c02a518e5be4d5af4062ba46dd840965d"


class GymnasiumDescription(Protocol):
    """A user's own text for an environment: the class that the option `wrapper` names.

    The class is called with the environment. A `gymnasium.Wrapper` will do too: then its
    observations and actions become text as usual. Two more attributes are read where they exist:
    `system_prompt`, the initial system prompt, and `oracle()`, a reply that leads to success.
    """

    def say(self, observation: Any, info: Mapping[str, Any]) -> str:
        """The observation as text."""
        ...

    def read(self, reply: str) -> Any:
        """The action in a reply; raises ValueError with a sentence for the model."""
        ...


def load_wrapper(path: str) -> Callable[[gymnasium.Env[Any, Any]], Any]:
    """The class that `module:Class` names; raises UnknownOption where there is none."""
    module, _, attribute = path.partition(":")
    try:
        imported = guarded(path, MAKE_SECONDS, importlib.import_module, module)
        found: object = getattr(imported, attribute)
    except (EnvFault, ImportError, AttributeError, ValueError) as reason:
        raise UnknownOption(
            f"{option_key('wrapper')}={path} cannot be found ({reason}); write module:Class, with"
            " the module in the current folder or installed."
        ) from reason
    if not callable(found):
        raise UnknownOption(f"{option_key('wrapper')}={path} is no class; write module:Class.")
    return found


def open_described(
    env_id: str, env_options: Mapping[str, Any], render: str, wrapper: str, actions: str
) -> tuple[gymnasium.Env[Any, Any], GymnasiumDescription, bool]:
    """The environment, its description, and True where its own drawing is shown too."""
    env, draws = make_gymnasium_env(env_id, env_options, render)
    if not wrapper:
        return env, SpaceText(env, actions), draws
    made = guarded(wrapper, MAKE_SECONDS, load_wrapper(wrapper), env)
    # A wrapper says in its own words what is seen: the drawing comes only where it is asked for.
    draws = draws and render == "ansi"
    if isinstance(made, gymnasium.Wrapper):
        return made, SpaceText(made, actions), draws
    missing = [part for part in ("say", "read") if not callable(getattr(made, part, None))]
    if missing:
        raise UnknownOption(
            f"{option_key('wrapper')}={wrapper} is no description: it has no {missing[0]}(). Give"
            " it say(observation, info) and read(reply), or derive it from gymnasium.Wrapper."
        )
    if actions:
        raise UnknownOption(
            f"A description of your own reads replies itself; leave {option_key('actions')} out."
        )
    return env, cast(GymnasiumDescription, made), draws


def make_gymnasium_env(
    env_id: str, env_options: Mapping[str, Any], render: str
) -> tuple[gymnasium.Env[Any, Any], bool]:
    """The environment, and True where it draws itself as text."""
    spec = gymnasium.spec(env_id.rpartition(":")[2])
    creator: Any = spec.entry_point
    if isinstance(creator, str):
        creator = gymnasium.envs.registration.load_env_creator(creator)
    can_draw = _draws_text(creator)
    if render == "ansi" and not can_draw:
        raise UnknownOption(f"'{env_id}' draws no text; leave {option_key('render')}=ansi out.")
    draws = can_draw and render != "none" and "render_mode" not in env_options
    drawing: dict[str, Any] = {"render_mode": "ansi"} if draws else {}
    try:
        make: Any = gymnasium.make
        made = guarded(
            env_id, MAKE_SECONDS, make, env_id, disable_env_checker=True, **drawing, **env_options
        )
    except EnvError as reason:
        raise UnknownEnv(f"'{env_id}' cannot be made: {reason}.") from reason
    except Exception as reason:  # its constructor may raise anything
        said = " ".join(f"{type(reason).__name__}: {reason}".split())[:500]
        if not env_options:
            raise UnknownEnv(f"'{env_id}' cannot be made: {said}") from reason
        raise UnknownOption(
            f"'{env_id}' cannot be made with {', '.join(sorted(env_options))}: {said}; see"
            f" harness env show {env_id}."
        ) from reason
    return made, draws


def _draws_text(creator: Any) -> bool:
    """True where the class lists the render mode "ansi" and its constructor takes one."""
    metadata = getattr(creator, "metadata", None)
    modes = metadata.get("render_modes") if isinstance(metadata, Mapping) else None
    if not isinstance(modes, Iterable) or "ansi" not in modes:
        return False
    try:
        parameters = inspect.signature(creator).parameters.values()
    except (TypeError, ValueError):  # written in C: it cannot be asked
        return True
    open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters)
    return open_ended or any(one.name == "render_mode" for one in parameters)


def step_limit(env: gymnasium.Env[Any, Any]) -> int:
    """The environment's own limit of steps; 0 for none."""
    return int((env.spec.max_episode_steps if env.spec else 0) or 0)


def source_hashes(kind: type) -> list[str]:
    """A hash of each file that the class and its bases are written in, Gymnasium's core apart."""
    if kind is SpaceText:
        return [_SPACE_TEXT_SOURCE]
    found = []
    for cls in kind.__mro__:
        if cls.__module__ in ("builtins", "typing", "gymnasium.core"):
            continue
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        text = Path(file).read_bytes() if file and Path(file).exists() else b""
        found.append(f"{cls.__qualname__} {hashlib.sha256(text).hexdigest()}")
    return found
