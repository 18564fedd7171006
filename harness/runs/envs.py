"""Making worlds for the harness: the rooms' own errors become exit codes here."""

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import cast

import envs
from envs.errors import EnvError, UnknownEnv, UnknownOption
from envs.integrations.verifiers.env import is_path
from envs.registry import path_options
from harness.config import Config, Scalar, Table
from harness.env_capabilities import Regradable
from harness.errors import DataError, UsageError
from harness.text_env import TextEnvProtocol
from harness.types import Split


@cache
def _options(name: str) -> tuple[str, ...]:
    """The options a world takes; looked up once, because every world of a batch is made by name."""
    try:
        return envs.describe(name).options
    except UnknownEnv as error:
        raise UsageError(str(error)) from error
    except EnvError as error:
        raise DataError(str(error)) from error


def takes_data(name: str) -> bool:
    """Whether a world reads data files, so that a folder of them can be given."""
    return "data_dir" in _options(name)


def takes_seed(name: str) -> bool:
    """Whether a name stands for a family of worlds, one for each seed."""
    return "world_seed" in _options(name)


def make_world(
    name: str,
    split: Split,
    data_dir: str = "",
    accept_data: bool = False,
    world_seed: int | None = None,
    world_options: Table | None = None,
) -> TextEnvProtocol:
    """Make one world; a folder of data or a seed goes only to a world that takes one.

    `world_options` is the request's `[world]` section: keyword options of the world itself.

    Raises:
        UsageError: for a name that does not exist, or an option the world does not take.
        DataError: where its data is missing, unreachable or not what was pinned.
    """
    options: dict[str, object] = dict(world_options or {})
    if takes_data(name):
        options["data_dir"] = data_dir or None
        # A world may read a folder without having pinned its content.
        if "accept_data" in _options(name):
            options["accept_data"] = accept_data
    if takes_seed(name):
        options["world_seed"] = world_seed
    try:
        return cast(TextEnvProtocol, envs.make(name, split, **options))
    except (UnknownEnv, UnknownOption) as error:
        raise UsageError(str(error)) from error
    except EnvError as error:
        raise DataError(str(error)) from error


def world_maker(request: Config) -> Callable[[Split], TextEnvProtocol]:
    """How to make this request's worlds."""

    def make(split: Split) -> TextEnvProtocol:
        section = request.env
        return make_world(
            section.name,
            split,
            section.data_dir,
            section.accept_data,
            section.world_seed,
            request.world_table,
        )

    return make


def answers_once(world: TextEnvProtocol) -> bool:
    """Whether its episodes are one reply, which can be judged without playing an episode."""
    return isinstance(world, Regradable) and type(world).step is envs.TextEnv.step


def whole_name(name: str) -> str:
    """A world's name that means the same from any folder: files and folders by their full path."""
    kind, colon, place = name.partition(":")
    return f"{kind}:{Path(place).resolve()}" if colon and _is_file(kind, place) else name


def public_name(name: str) -> str:
    """The name without a file's folder or a server's address, which are nobody's business."""
    kind, colon, place = name.partition(":")
    if colon and kind == "openenv":
        return f"{kind}:URL"
    return f"{kind}:{Path(place).name}" if colon and _is_file(kind, place) else name


def _is_file(kind: str, place: str) -> bool:
    return bool(place) and (kind == "jsonl" or (kind == "verifiers" and is_path(place)))


def whole_options(name: str, options: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The options with full paths where the world says that they name files or folders."""
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
