"""The errors that environments raise on purpose, as one tree.

    EnvError
    ├── UnknownEnv         there is no environment of that name, or it is not a text environment
    ├── UnknownOption      the environment exists but does not take that option
    ├── ExtraMissing       the environment needs a package that is installed on request
    ├── EnvFault           the environment's own code exits, hangs or returns the wrong form
    │   └── EnvHangs       one of its calls did not return in time
    └── EnvDataError
        ├── DataUnavailable   neither a folder nor the Hub gave the data
        ├── DataMalformed     a file cannot be read as what it should be; names file and line
        └── DataDiffers       the data is readable but is not what was pinned

Each message says what happened, what was expected, and what to type next.
"""

import difflib
from collections.abc import Iterable, Sequence


class EnvError(Exception):
    """Any refusal of an environment."""


class UnknownEnv(EnvError):
    """There is no environment of that name."""


class UnknownOption(EnvError):
    """The environment does not take that option."""


class EnvFault(EnvError):
    """The environment's own code exits, hangs, fails or returns what no environment should."""


class EnvHangs(EnvFault):
    """A call of the environment did not return in time."""


class EnvDataError(EnvError):
    """An environment's data is missing, unreadable or not what was pinned."""


class DataUnavailable(EnvDataError):
    """Neither a folder nor the Hub gave the data."""


class DataMalformed(EnvDataError):
    """A file or a table does not hold what it should."""


class DataDiffers(EnvDataError):
    """The data is readable but is not what was pinned; `differences` has one line for each."""

    def __init__(self, message: str, differences: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.differences = tuple(differences)


def option_key(option: str) -> str:
    """The key by which a user sets an option of an environment, for messages."""
    return f"env.{option}"


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """A suggestion where a name is near, then the list of what exists."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}Known: {', '.join(known)}."
