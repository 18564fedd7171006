"""Trackers people know, as lookers-on: TensorBoard, Weights & Biases, trackio. All work offline.

What they are told is what a run's own records hold; a run never depends on them. One that cannot be
opened is refused before anything is played; one that fails later falls silent, and says so once.
Each is an optional package, imported where it is opened.
"""

import importlib
import logging
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from hashlib import sha256
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
    """Tells one tracker of every round, and of the test score at the end.

    Steps are rounds, counted from 1.
    """

    name = ""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._silent = False

    @abstractmethod
    def tell(self, step: int, numbers: Numbers) -> None:
        """Hand one step's numbers on."""

    @abstractmethod
    def end(self) -> None:
        """Write what is still held, and let go."""

    @override
    def round(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        numbers = {"reward": rollouts.mean(), **report.metrics, **_costs(asdict(spent))}
        self._try(rollouts.round.index + 1, numbers)

    def score(self, value: float | None, step: int) -> None:
        """The one score on test; nothing is told where nothing was scored."""
        if value is not None:
            self._try(step, {"test/score": value})

    def close(self) -> None:
        """The run is over, or stopped."""
        with self._guarded():
            self.end()

    def _try(self, step: int, numbers: Numbers) -> None:
        with self._guarded():
            if not self._silent:
                self.tell(step, {k: float(v) for k, v in numbers.items() if isfinite(v)})

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with redirect_stdout(sys.stderr):  # standard output is for the board, or for JSON
                yield
        except Exception as error:  # somebody else's package, which may fail in any way it likes
            if not self._silent:
                self._silent = True
                reason = scrubbed(f"{type(error).__name__}: {error}")
                self._note(f"{self.name} stopped listening ({reason}); the run goes on without it")


def _costs(spent: Mapping[str, float]) -> dict[str, float]:
    return {f"spent/{name}": float(value) for name, value in spent.items()}


class TensorBoard(Tracker):
    """Event files in the run's `tensorboard` folder: `tensorboard --logdir runs`.

    They are written anew from the run's own log when a run goes on, so that no round is missing and
    none is there twice.
    """

    name = "TensorBoard"

    def __init__(
        self, folder: Path, title: str, settings: Mapping[str, JSON], note: Callable[[str], None]
    ) -> None:
        super().__init__(note)
        summary = _package("tensorboard.summary", "tensorboard")
        place = folder / "tensorboard"
        shutil.rmtree(place, ignore_errors=True)
        self._writer = summary.Writer(str(place))
        state = folder / "checkpoint" / "state.json"
        done = cast(int, read_json(state)["round"]) if state.exists() else 0
        for _, line in lines(folder / "rounds.jsonl"):
            if cast(int, line["round"]) < done:  # a killed run may have logged one round more
                self._again(cast(Mapping[str, Any], line))

    def _again(self, line: Mapping[str, Any]) -> None:
        numbers = {"reward": line["reward"], **line["numbers"], **_costs(line["spent"])}
        told = {name: value for name, value in numbers.items() if value is not None}
        self._try(int(line["round"]) + 1, told)

    @override
    def tell(self, step: int, numbers: Numbers) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    @override
    def end(self) -> None:
        self._writer.close()


class WandB(Tracker):
    """Weights & Biases in offline mode, in the run's `wandb` folder: `wandb sync` uploads it.

    WANDB_MODE=online uploads at once; nothing else does.
    """

    name = "Weights & Biases"

    def __init__(
        self, folder: Path, title: str, settings: Mapping[str, JSON], note: Callable[[str], None]
    ) -> None:
        super().__init__(note)
        package = _package("wandb", "wandb")
        mode = os.environ.get("WANDB_MODE", "offline")
        (folder / "wandb").mkdir(exist_ok=True)
        self._run = package.init(
            project="espl-harness",
            name=title,
            id=_id(folder),
            resume="allow" if mode == "online" else None,
            dir=str(folder),
            mode=mode,
            config=dict(settings),
            settings=package.Settings(silent=True, console="off", disable_git=True),
        )

    @override
    def tell(self, step: int, numbers: Numbers) -> None:
        self._run.log(dict(numbers), step=step)

    @override
    def end(self) -> None:
        self._run.finish()


class Trackio(Tracker):
    """trackio, on this machine: `trackio show --project espl-harness`."""

    name = "trackio"

    def __init__(
        self, folder: Path, title: str, settings: Mapping[str, JSON], note: Callable[[str], None]
    ) -> None:
        super().__init__(note)
        package = _package("trackio", "trackio")
        self._run = package.init(
            project="espl-harness",
            name=f"{title} {_id(folder)}",
            resume="allow",
            config=dict(settings),
            embed=False,
        )

    @override
    def tell(self, step: int, numbers: Numbers) -> None:
        self._run.log(dict(numbers), step=step)

    @override
    def end(self) -> None:
        self._run.finish()


TRACKERS: Mapping[
    str, Callable[[Path, str, Mapping[str, JSON], Callable[[str], None]], Tracker]
] = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}


def _id(folder: Path) -> str:
    """A name for a run that stays the same when it goes on."""
    return sha256(str(folder.resolve()).encode()).hexdigest()[:12]


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
    """Refuse a tracker that does not exist, or whose package is not installed."""
    modules = {"tensorboard": "tensorboard.summary"}
    for name in names:
        if name not in TRACKERS:
            raise unknown("tracker", name, TRACKERS)
        _package(modules.get(name, name), name)


def open_tracker(
    name: str,
    folder: Path,
    title: str,
    settings: Mapping[str, JSON],
    note: Callable[[str], None],
) -> Tracker:
    """Begin telling one tracker of the run in `folder`; `note` hears if it falls silent.

    Raises:
        UsageError: if there is no such tracker, or if it cannot be opened.
    """
    check_trackers([name])
    try:
        with redirect_stdout(sys.stderr):
            return TRACKERS[name](folder, title, settings, note)
    except Exception as error:  # somebody else's package: whatever it says stands in one sentence
        reason = scrubbed(f"{type(error).__name__}: {error}")
        raise UsageError(
            f"The tracker {name} cannot be opened ({reason}); set it up, or leave --tracker out."
        ) from error
