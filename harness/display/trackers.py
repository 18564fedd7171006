"""Experiment trackers as callbacks: TensorBoard here, all others by `accelerate.tracking`.

They get what a run's own records hold; a run never depends on them. One that cannot be opened is
refused before the run begins; one that fails later is reported once and gets nothing more. Each
is an optional package, imported where it is opened, and all work offline.
"""

import importlib
import logging
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, cast

from typing_extensions import override

from harness.budget import Usage
from harness.callbacks import Callback
from harness.errors import UsageError, unknown
from harness.round_data import Rollouts
from harness.storage.atomic_files import lines, read_json
from harness.system.secrets import scrubbed
from harness.types import JSON, Report

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
        state = folder / "checkpoint" / "state.json"
        done = cast(int, read_json(state)["round"]) if state.exists() else 0
        for _, record in lines(folder / "rounds.jsonl"):
            line = cast(Mapping[str, Any], record)
            if line["round"] < done:  # a killed run may have logged one more
                numbers = {"reward": line["reward"], **line["numbers"], **_costs(line["spent"])}
                known = {name: value for name, value in numbers.items() if value is not None}
                self._log(line["round"] + 1, known)

    def _log(self, step: int, numbers: Numbers) -> None:
        with self._guarded():
            if not self._failed:
                self.log(step, {k: float(v) for k, v in numbers.items() if isfinite(v)})

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with redirect_stdout(sys.stderr):  # standard output is for the leaderboard, or for JSON
                yield
        except Exception as error:  # another package's code, which may raise anything
            if not self._failed:
                self._failed = True
                reason = scrubbed(f"{type(error).__name__}: {error}")
                self._note(f"{self.name} failed ({reason}); the run goes on without it")


def _costs(spent: Mapping[str, float]) -> dict[str, float]:
    return {f"spent/{name}": float(value) for name, value in spent.items()}


class TensorBoard(Tracker):
    """Event files in the run's `tensorboard` folder: `tensorboard --logdir runs`.

    They are written anew from the run's own log when a run is resumed, so that no iteration is
    missing and none is there twice. `accelerate` would load torch to write them.
    """

    name = "TensorBoard"

    def __init__(self, folder: Path, note: Callable[[str], None]) -> None:
        super().__init__(note)
        summary = _package("tensorboard.summary", "tensorboard")
        events = folder / "tensorboard"
        shutil.rmtree(events, ignore_errors=True)
        self._writer = summary.Writer(str(events))
        self.replay(folder)

    @override
    def log(self, step: int, numbers: Numbers) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    @override
    def finish(self) -> None:
        self._writer.close()


TRACKERS: Mapping[str, str] = {
    "comet_ml": "comet_ml",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard.summary",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""Names, as in `--tracker` and as extras of this package, and the module that each needs."""


def _package(module: str, extra: str) -> Any:
    try:
        logging.getLogger(extra).setLevel(logging.ERROR)
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"--tracker {extra} needs the package {extra}, which is not installed ({error}); "
            f"type pip install 'espl-harness[{extra}]', or leave --tracker out."
        ) from error


def check_trackers(names: Sequence[str]) -> None:
    """Refuse a tracker that does not exist, or whose package is not installed.

    Raises:
        UsageError: It says which exist, or what to install.
    """
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS)
        _package(TRACKERS[name], name)


def open_tracker(
    name: str,
    folder: Path,
    title: str,
    settings: Mapping[str, JSON],
    note: Callable[[str], None],
) -> Tracker:
    """Open one tracker for the run in `folder`; `note` gets a line if it fails later.

    Raises:
        UsageError: There is no such tracker, or it cannot be opened.
    """
    check_trackers([name])
    try:
        with redirect_stdout(sys.stderr):
            if name == "tensorboard":
                return TensorBoard(folder, note)
            from harness.display.accelerate_tracker import AccelerateTracker  # loads torch

            return AccelerateTracker(name, folder, title, settings, note)
    except Exception as error:  # another package's code: whatever it says becomes one sentence
        reason = scrubbed(f"{type(error).__name__}: {error}")
        raise UsageError(
            f"The tracker {name} cannot be opened ({reason}); set it up, or leave --tracker out."
        ) from error
