"""All errors that the harness raises on purpose, as one tree.

    HarnessError (exit code 1)
    ├── UsageError (2)       the request cannot be understood; the message names the choices
    ├── DataError (3)        data is missing, unreachable or differs from its pinned hash
    ├── ModelError (4)       a model cannot be loaded, reached or trained
    │   ├── OutOfMemory      memory ran out while it sampled or trained
    │   └── NotFinite        a number of training became NaN or infinite
    ├── RunError (5)         a run directory is locked, damaged or of another schema
    ├── SelfTestError (6)    a grader misjudged an answer with a known verdict
    └── ExecutorError (7)    a cluster cannot be reached, or cannot run what is asked

Each message says what happened, what was expected, and what to type next.
"""

import difflib
import math
from collections.abc import Iterable


class HarnessError(Exception):
    """Base of all errors; `exit_code` is the exit code of the command line."""

    exit_code = 1


class UsageError(HarnessError):
    """The request cannot be understood."""

    exit_code = 2


class DataError(HarnessError):
    """Data is missing, unreachable or differs from its pinned hash."""

    exit_code = 3


class ModelError(HarnessError):
    """A model cannot be loaded, reached or trained."""

    exit_code = 4


class OutOfMemory(ModelError):
    """Memory ran out while a model sampled or trained.

    `what` says what was too long, `setting` which setting of how a run is executed helps, as in
    "model.batch_rows=8"; "" where only shorter texts do.
    """

    def __init__(self, what: str, setting: str) -> None:
        helps = f"set {setting}" if setting else "free some, or set a smaller sampling.max_tokens"
        super().__init__(f"{what}: {helps}.")
        self.what, self.setting = what, setting


class NotFinite(ModelError):
    """A number of training became NaN or infinite; `what` says which, as in "the adapter"."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what[0].upper()}{what[1:]} is not a finite number: lower the learning rate, or load "
            "the model with dtype float32."
        )
        self.what = what


class RunError(HarnessError):
    """A run directory is locked, damaged or of another schema."""

    exit_code = 5


class SelfTestError(HarnessError):
    """A grader misjudged an answer with a known verdict."""

    exit_code = 6


class ExecutorError(HarnessError):
    """A cluster cannot be reached, or cannot run what is asked."""

    exit_code = 7


def unknown(kind: str, name: str, choices: Iterable[str]) -> UsageError:
    """The error for an unknown name, with a suggestion and the known names."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(f"There is no {kind} '{name}'.{hint} Known: {', '.join(known)}.")


def within(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Refuse a number outside [low, high]; NaN is outside."""
    if not low <= value <= high:
        top = "" if high == math.inf else f" and at most {high:g}"
        raise UsageError(
            f"Setting {name} is {value:g}, but must be at least {low:g}{top}; "
            f"write --set {name}={low:g}."
        )
