"""Construction of environments: errors of `envs` become errors of the harness with exit codes."""

import os
import shlex
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import envs
from envs.adapters import gymnasium_env
from envs.errors import EnvError, UnknownEnv, UnknownOption
from envs.integrations.interpreter_env import is_path
from envs.registry import built_in, options, path_options
from envs.resolution import find
from envs.untrusted import untrusted_parts
from harness.env_capabilities import Regradable
from harness.errors import DataError, UsageError
from harness.settings.catalog import NamedOptions
from harness.settings.config import Config
from harness.settings.docstrings import describe_options
from harness.settings.fields import Setting, describe
from harness.settings.sections import EnvSection, Table
from harness.settings.sources import Scalar
from harness.text_env import TextEnvProtocol
from harness.types import Split
from leaderboards.boards.formatting import plain

_LONGEST = 80  # characters of a name that are shown


@cache
def _options(name: str) -> tuple[str, ...]:
    """The options of an environment; cached, because each copy in a batch is made by name."""
    try:
        return envs.describe(name).options
    except UnknownEnv as error:
        raise UsageError(str(error)) from error
    except EnvError as error:
        raise DataError(str(error)) from error


def env_options(name: str) -> dict[str, Setting]:
    """The options of an environment by key, with type, default and meaning.

    Those that the harness sets itself (data, task seed) are described as keys of `[env]`.
    """
    found = find(name)
    if found.is_text_env:
        return _describe_all(found.creator, options(name))
    taken = dict(options(name))
    adapted = {key: taken.pop(key) for key in gymnasium_env.OPTIONS}
    return _describe_all(gymnasium_env.GymnasiumTextEnv, adapted) | _describe_all(
        found.creator, taken
    )


def built_in_options() -> tuple[NamedOptions, ...]:
    """The options of every environment of this package, also where its extra is missing."""
    return tuple(
        NamedOptions(one.name, _describe_all(one.creator, one.options), one.prefix)
        for one in built_in()
    )


def adapter_options() -> NamedOptions:
    """The options of the adapter, which every Gymnasium environment without text takes."""
    adapter = gymnasium_env.GymnasiumTextEnv
    return NamedOptions("any Gymnasium id", _describe_all(adapter, gymnasium_env.OPTIONS))


def _describe_all(creator: Any, defaults: Mapping[str, object]) -> dict[str, Setting]:
    """Options of a class; those that are keys of `[env]` come first, described as such."""
    taken = dict(defaults)
    described: dict[str, Setting] = {}
    for key, setting in describe(EnvSection).items():
        own_name = setting.formerly.name or key  # an environment takes its seed as world_seed
        if own_name in taken:
            del taken[own_name]
            described[key] = setting
    return described | describe_options(creator, taken)


def takes_data(name: str) -> bool:
    """True for an environment that reads data files from a folder."""
    return "data_dir" in _options(name)


def takes_seed(name: str) -> bool:
    """True for a per-seed task distribution: one environment for each seed."""
    return "world_seed" in _options(name)


def make_env(
    name: str,
    split: Split,
    data_dir: str = "",
    accept_data: bool = False,
    task_seed: int | None = None,
    chosen: Table | None = None,
) -> TextEnvProtocol:
    """Make one environment; a folder of data or a seed goes only to an environment that takes one.

    `chosen` is the request's `[env]` section: keyword options of the environment itself.

    Raises:
        UsageError: for a name that does not exist, or an option the environment does not take.
        DataError: where its data is missing, unreachable or not what was pinned.
    """
    options: dict[str, object] = dict(chosen or {})
    if takes_data(name):
        options["data_dir"] = data_dir or None
        # An environment may read a folder without having pinned its content.
        if "accept_data" in _options(name):
            options["accept_data"] = accept_data
    if takes_seed(name):
        options["world_seed"] = task_seed
    try:
        return cast(TextEnvProtocol, envs.make(name, split, **options))
    except (UnknownEnv, UnknownOption) as error:
        raise UsageError(str(error)) from error
    except EnvError as error:
        raise DataError(str(error)) from error


def env_maker(request: Config) -> Callable[[Split], TextEnvProtocol]:
    """A function that makes this request's environment for a split."""

    def make(split: Split) -> TextEnvProtocol:
        section = request.env
        return make_env(
            section.name,
            split,
            section.data_dir,
            section.accept_data,
            section.task_seed,
            request.env_options,
        )

    return make


def answers_once(env: TextEnvProtocol) -> bool:
    """True if an episode is one completion, which can be graded without a rollout."""
    return isinstance(env, Regradable) and type(env).step is envs.TextEnv.step


def whole_name(name: str) -> str:
    """The environment's name with full paths, so that it means the same in any folder."""
    kind, colon, place = name.partition(":")
    return f"{kind}:{Path(place).resolve()}" if colon and _is_file(kind, place) else name


def public_name(name: str) -> str:
    """The name without a file's folder or a server's address, which are nobody's business."""
    kind, colon, place = name.partition(":")
    if colon and kind in ("openenv", "mcp"):
        return f"{kind}:URL" if kind == "openenv" else "mcp:COMMAND"
    return f"{kind}:{Path(place).name}" if colon and _is_file(kind, place) else name


def _is_file(kind: str, place: str) -> bool:
    return bool(place) and (
        kind in ("jsonl", "harbor")
        or (kind in ("verifiers", "inspect") and is_path(place.partition("@")[0]))
    )


def whole_options(name: str, options: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The options with full paths where the environment says that they name files or folders."""
    paths = path_options(name) if options else ()
    return {
        key: _whole(value) if key in paths and isinstance(value, str) and value else value
        for key, value in options.items()
    }


def _whole(path: str) -> str:
    # Links stay: the interpreter of a virtual environment is one, and knows its packages by it.
    return os.path.abspath(os.path.expanduser(path))


def public_options(name: str, options: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The options with files and folders by their last name only."""
    paths = path_options(name) if options else ()
    return {key: Path(str(value)).name if key in paths else value for key, value in options.items()}


def untrusted(name: str, options: Mapping[str, object], trusted: Collection[str]) -> str:
    """The reason why an environment that a stranger's file names is not opened, and what to type.

    Empty where all of it may be opened.
    """
    parts = [part for part in untrusted_parts(name, options) if not part.allowed(trusted)]
    if not parts:
        return ""
    told = " and ".join(f"the {part.kind} {plain(part.name, _LONGEST)}" for part in parts)
    words = " ".join(f"--trust {shlex.quote(plain(part.name, _LONGEST))}" for part in parts)
    return f"it opens {told}, not part of this package; if you trust that, add {words}"
