"""The Gymnasium environment inside an adapter: making it, describing it, hashing its sources."""

import hashlib
import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import gymnasium

from envs.adapters.redirect_stdout import stdout_to_stderr
from envs.adapters.text_spaces import SpaceText
from envs.errors import UnknownEnv, UnknownOption, option_key

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
        found: object = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as reason:
        raise UnknownOption(
            f"{option_key('wrapper')}={path} cannot be found ({reason}); write module:Class, with"
            f" the"
            " module in the current folder or installed."
        ) from reason
    if not callable(found):
        raise UnknownOption(f"{option_key('wrapper')}={path} is no class; write module:Class.")
    return found


def make_gymnasium_env(
    env_id: str, env_options: Mapping[str, Any], render: str
) -> tuple[gymnasium.Env[Any, Any], bool]:
    """The environment, and True where it draws itself as text."""
    spec = gymnasium.spec(env_id.rpartition(":")[2])
    creator: Any = spec.entry_point
    if isinstance(creator, str):
        creator = gymnasium.envs.registration.load_env_creator(creator)
    can_draw = "ansi" in getattr(creator, "metadata", {}).get("render_modes", ())
    if render == "ansi" and not can_draw:
        raise UnknownOption(f"'{env_id}' draws no text; leave {option_key('render')}=ansi out.")
    draws = can_draw and render != "none" and "render_mode" not in env_options
    drawing: dict[str, Any] = {"render_mode": "ansi"} if draws else {}
    try:
        made = stdout_to_stderr(
            gymnasium.make, env_id, disable_env_checker=True, **drawing, **env_options
        )
    except (gymnasium.error.Error, TypeError, ValueError, KeyError, AssertionError) as reason:
        if not env_options:
            raise UnknownEnv(f"'{env_id}' cannot be made: {reason}") from reason
        raise UnknownOption(
            f"'{env_id}' cannot be made with {', '.join(sorted(env_options))}: {reason}; see"
            f" harness env show {env_id}."
        ) from reason
    return made, draws


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
