"""Base class of experiment trackers: what is logged when, and what happens where one fails."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from statistics import pstdev
from typing import Any, cast

from typing_extensions import override

from harness.budget import Usage
from harness.callbacks import Callback
from harness.reward_hacking import logged, monitors
from harness.round_data import Rollouts
from harness.storage.atomic_files import lines, read_json
from harness.system.process_end import leave_behind
from harness.system.secrets import redact
from harness.system.work_thread import Hangs, WorkThread
from harness.types import Report

Numbers = Mapping[str, float]
Cell = str | int | float | bool | None
MONITORS: Mapping[str, str] = {
    "guesses": "multi-answer rate",
    "disagree": "grader disagreement",
    "unjudged": "grader failure",
    "same": "mode collapse",
    "silent": "no answer",
    "overlong": "truncation",
    "copied": "leakage",
    "tokens": "tokens per completion",
}
"""Names of the reward-hacking monitors on screen, by those in rounds.jsonl."""


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
        self.constants: Numbers = {}
        """Settings that are logged beside the numbers of each iteration, such as learning_rate."""
        # A tracker that was opened in such a thread stays in it: some keep state by thread.
        self._thread = WorkThread.current() or WorkThread()

    @abstractmethod
    def log(self, step: int, numbers: Numbers) -> None:
        """Log the numbers of one step."""

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Log a table; nothing where the tracker has none."""

    @abstractmethod
    def finish(self) -> None:
        """Write what is still buffered, and close."""

    @override
    def round(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        numbers = {"reward": rollouts.mean(), **report.metrics, **_costs(asdict(spent))}
        if isinstance(rollouts, Rollouts):
            numbers |= {"reward_spread": _spread([e.reward for e in rollouts if e.scored])}
            numbers |= _monitors(logged(monitors(rollouts)))
        self._log(rollouts.round.index + 1, {**numbers, **self.constants})

    def score(self, value: float | None, step: int) -> None:
        """Log the score on the test split; nothing where nothing was scored."""
        if value is not None:
            self._log(step, {"test/score": value})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Log a table of a finished run, unless it is empty."""
        if rows:
            self._guarded(
                lambda: self.log_table(name, columns, rows), f"did not take the table of {name}"
            )

    def close(self) -> None:
        """Finish, whether the run is over or stopped."""
        self._guarded(self.finish, "did not finish", always=True)

    def replay(self, folder: Path) -> None:
        """Log the finished iterations of the run in `folder`, from its own records."""
        # Whether it is whole is checked where the run is resumed.
        state = folder / "checkpoint" / "state.json"
        round = read_json(state).get("round") if state.exists() else 0
        done = round if isinstance(round, int) else 0
        spreads = _spreads(folder / "episodes.jsonl")
        for _, record in lines(folder / "rounds.jsonl"):
            line = cast(Mapping[str, Any], record)
            if line["round"] < done:  # a killed run may have logged one more
                numbers = {"reward": line["reward"], **line["numbers"], **_costs(line["spent"])}
                numbers |= {"reward_spread": spreads.get(line["round"]), **self.constants}
                numbers |= _monitors(line.get("signs") or {})
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


def _spread(rewards: Sequence[float]) -> float:
    """Standard deviation of the rewards of an iteration; NaN without any."""
    return pstdev(rewards) if rewards else float("nan")


def _spreads(path: Path) -> dict[int, float]:
    """The spread of rewards of each logged iteration."""
    rewards: dict[int, list[float]] = {}
    for _, record in lines(path):
        one = cast(Mapping[str, Any], record)
        if one.get("reward") is not None:
            rewards.setdefault(one["round"], []).append(one["reward"])
    return {round: _spread(found) for round, found in rewards.items()}


def _monitors(record: Mapping[str, float | None]) -> dict[str, float]:
    """Reward-hacking monitors under the names on screen, where they were measured."""
    known = {name: value for name, value in record.items() if value is not None}
    return {f"monitors/{MONITORS.get(name, name)}": value for name, value in known.items()}


def _costs(spent: Mapping[str, float]) -> dict[str, float]:
    return {f"spent/{name}": float(value) for name, value in spent.items()}
