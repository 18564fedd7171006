"""Making worlds for the harness: the rooms' own errors become exit codes here."""

from pathlib import Path

import envs
from envs.errors import UnknownWorld, WorldError
from harness.errors import DataError, UsageError
from harness.types import Split
from harness.worlds import World


def make_world(
    name: str, split: Split, data_dir: str | Path = "", accept_data: bool = False
) -> World:
    """Make one world.

    Raises:
        UsageError: for a name that does not exist.
        DataError: where its data is missing, unreachable or not what was pinned.
    """
    try:
        return envs.make(name, split, data_dir=str(data_dir) or None, accept_data=accept_data)
    except UnknownWorld as error:
        raise UsageError(str(error)) from error
    except WorldError as error:
        raise DataError(str(error)) from error
