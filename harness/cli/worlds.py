"""Making worlds for the harness: the rooms' own errors become exit codes here."""

from functools import cache
from typing import cast

import envs
from envs.errors import UnknownOption, UnknownWorld, WorldError
from harness.errors import DataError, UsageError
from harness.types import Split
from harness.worlds import World


@cache
def _options(name: str) -> tuple[str, ...]:
    """The options a world takes; looked up once, because every world of a batch is made by name."""
    try:
        return envs.describe(name).options
    except UnknownWorld as error:
        raise UsageError(str(error)) from error


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
) -> World:
    """Make one world; a folder of data or a seed goes only to a world that takes one.

    Raises:
        UsageError: for a name that does not exist.
        DataError: where its data is missing, unreachable or not what was pinned.
    """
    options: dict[str, object] = {}
    if takes_data(name):
        options = {"data_dir": data_dir or None, "accept_data": accept_data}
    if takes_seed(name):
        options["world_seed"] = world_seed
    try:
        return cast(World, envs.make(name, split, **options))
    except (UnknownWorld, UnknownOption) as error:
        raise UsageError(str(error)) from error
    except WorldError as error:
        raise DataError(str(error)) from error
