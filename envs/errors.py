"""Every error a world raises on purpose, as one tree.

    WorldError
    ├── UnknownWorld       there is no world of that name, or it is not a text world
    ├── UnknownOption      the world exists but does not take that option
    ├── ExtraMissing       the world needs a package that is installed on request
    └── DataError
        ├── DataUnavailable   neither a folder nor the Hub gave the data
        ├── DataMalformed     a file cannot be read as what it should be; names file and line
        └── DataDiffers       the data is readable but is not what was pinned

Each message is what happened, what was expected, and what to type next.
"""

import difflib
from collections.abc import Iterable, Sequence


class EnvError(Exception):
    """Anything a world refuses."""


class UnknownEnv(EnvError):
    """There is no world of that name."""


class UnknownOption(EnvError):
    """The world does not take that option."""


class EnvDataError(EnvError):
    """A world's data is missing, unreadable or not what was pinned."""


class DataUnavailable(EnvDataError):
    """Neither a folder nor the Hub gave the data."""


class DataMalformed(EnvDataError):
    """A file or a table does not hold what it should."""


class DataDiffers(EnvDataError):
    """The data is readable but is not what was pinned; `differences` has one line for each."""

    def __init__(self, message: str, differences: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.differences = tuple(differences)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """A suggestion where one is near, then the list of what exists."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}Known: {', '.join(known)}."
