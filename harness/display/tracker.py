"""Base class of experiment trackers: what is logged when, and what happens where one fails."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, cast

from typing_extensions import override

from harness.budget import Usage
from harness.callbacks import Callback
from harness.round_data import Rollouts
from harness.storage.atomic_files import lines
from harness.storage.checkpoint import read_checkpoint
from harness.system.secrets import redact
from harness.types import Report

Numbers = Mapping[str, float]


class Tracker(Callback, ABC):
    """Logs every iteration to one tracker, and the test score at the end.

    Steps are iterations, counted from 1.
    """

    name = ""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._failed = False

    @abstractmethod
    def log(self, step: int, numbers: Numbers) -> None:
        """Log the numbers of one step."""

    @abstractmethod
    def finish(self) -> None:
        """Write what is still buffered, and close."""

    @override
    def round(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        numbers = {"reward": rollouts.mean(), **report.metrics, **_costs(asdict(spent))}
        self._log(rollouts.round.index + 1, numbers)

    def score(self, value: float | None, step: int) -> None:
        """Log the score on the test split; nothing where nothing was scored."""
        if value is not None:
            self._log(step, {"test/score": value})

    def close(self) -> None:
        """Finish, whether the run is over or stopped."""
        with self._guarded():
            self.finish()

    def replay(self, folder: Path) -> None:
        """Log the finished iterations of the run in `folder`, from its own records."""
        found = read_checkpoint(folder, quick=True)
        done = found.state.round if found else 0
        for _, record in lines(folder / "rounds.jsonl"):
            line = cast(Mapping[str, Any], record)
            if line["round"] < done:  # a killed run may have logged one more
                numbers = {"reward": line["reward"], **line["numbers"], **_costs(line["spent"])}
                known = {name: value for name, value in numbers.items() if value is not None}
                self._log(line["round"] + 1, known)

    def _log(self, step: int, numbers: Numbers) -> None:
        with self._guarded():
            if not self._failed:
                # Not every tracker takes NaN; a number that is missing says the same.
                self.log(step, {k: float(v) for k, v in numbers.items() if isfinite(v)})

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with redirect_stdout(sys.stderr):  # standard output is for the leaderboard, or for JSON
                yield
        except Exception as error:  # another package's code, which may raise anything
            if not self._failed:
                self._failed = True
                reason = redact(f"{type(error).__name__}: {error}")
                self._note(f"{self.name} failed ({reason}); the run goes on without it")


def _costs(spent: Mapping[str, float]) -> dict[str, float]:
    return {f"spent/{name}": float(value) for name, value in spent.items()}
