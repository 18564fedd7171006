"""Base class of experiment trackers: what is logged when, and what happens where one fails."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, cast

from typing_extensions import override

from harness.budget import Usage
from harness.callbacks import Callback
from harness.round_data import Rollouts
from harness.storage.atomic_files import lines, read_json
from harness.system.process_end import leave_behind
from harness.system.secrets import redact
from harness.system.work_thread import Hangs, WorkThread
from harness.types import Report

Numbers = Mapping[str, float]


SECONDS = 30.0
"""Seconds that a tracker has for one call, before the run goes on without it."""


class Tracker(Callback, ABC):
    """Logs every iteration to one tracker, and the test score at the end.

    Steps are iterations, counted from 1. All calls are made in one thread, which is left behind if
    one of them hangs: `log` and `finish` are another package's code, and may wait for a network.
    """

    name = ""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._failed = False
        # A tracker that was opened in such a thread stays in it: some keep state by thread.
        self._thread = WorkThread.current() or WorkThread()

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
        self._guarded(self.finish, "did not finish", always=True)

    def replay(self, folder: Path) -> None:
        """Log the finished iterations of the run in `folder`, from its own records."""
        # Whether it is whole is checked where the run is resumed.
        state = folder / "checkpoint" / "state.json"
        round = read_json(state).get("round") if state.exists() else 0
        done = round if isinstance(round, int) else 0
        for _, record in lines(folder / "rounds.jsonl"):
            line = cast(Mapping[str, Any], record)
            if line["round"] < done:  # a killed run may have logged one more
                numbers = {"reward": line["reward"], **line["numbers"], **_costs(line["spent"])}
                known = {name: value for name, value in numbers.items() if value is not None}
                self._log(line["round"] + 1, known)

    def _log(self, step: int, numbers: Numbers) -> None:
        # Not every tracker takes NaN; a number that is missing says the same.
        finite = {k: float(v) for k, v in numbers.items() if isfinite(v)}
        self._guarded(lambda: self.log(step, finite), "did not log an iteration")

    def _guarded(self, call: Callable[[], None], what: str, always: bool = False) -> None:
        """Make a call, unless an earlier one failed; `always` unless one hangs."""
        if self._failed and (self._thread.hangs or not always):
            return
        try:
            # Standard output is for the leaderboard, or for JSON.
            with redirect_stdout(sys.stderr):
                self._thread.call(call, SECONDS)
        except Hangs:
            self._failed = True
            leave_behind(self.name)
            self._note(
                f"{self.name} {what} within {SECONDS:g} s, and is left behind: the run goes on "
                "without it, and what it had not written may be missing there"
            )
        except Exception as error:  # another package's code, which may raise anything
            if not self._failed:
                self._failed = True
                reason = redact(f"{type(error).__name__}: {error}")
                self._note(f"{self.name} failed ({reason}); the run goes on without it")


def _costs(spent: Mapping[str, float]) -> dict[str, float]:
    return {f"spent/{name}": float(value) for name, value in spent.items()}
