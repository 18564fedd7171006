"""Experiment trackers as callbacks: TensorBoard here, all others by `accelerate.tracking`.

They get what a run's own records hold; a run never depends on them. One that cannot be opened is
refused before the run begins; one that fails later is reported once and gets nothing more. Each
is an optional package, imported where it is opened, and all work offline.
"""

import importlib
import logging
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from typing_extensions import override

from harness.display.tracker import Numbers, Tracker
from harness.errors import UsageError, unknown
from harness.system.process_end import leave_behind
from harness.system.secrets import redact
from harness.system.work_thread import Hangs, WorkThread
from harness.types import JSON

_OPENING = 120.0  # seconds that a tracker has to be opened in

__all__ = ["TRACKERS", "Tracker", "check_trackers", "open_tracker"]


class TensorBoard(Tracker):
    """Event files in the run's `tensorboard` folder: `tensorboard --logdir runs`.

    They are written anew from the run's own log when a run is resumed, so that no iteration is
    missing and none is there twice. `accelerate` would load torch to write them.
    """

    name = "TensorBoard"

    def __init__(self, folder: Path, note: Callable[[str], None], constants: Numbers) -> None:
        super().__init__(note)
        self.constants = constants
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
        # Before the import, during which some packages log already.
        logging.getLogger(extra).setLevel(logging.ERROR)
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"--tracker {extra} needs the package {extra}, which is not installed ({error}); "
            f"type pip install '.[{extra}]', or leave --tracker out."
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


def _constants(settings: Mapping[str, JSON]) -> Numbers:
    """The learning rate, where weights are trained: it is the same in every iteration."""
    method = settings.get("method")
    rate = method.get("learning_rate") if isinstance(method, Mapping) else None
    return {"learning_rate": float(rate)} if isinstance(rate, int | float) else {}


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

    constants = _constants(settings)

    def opened() -> Tracker:
        if name == "tensorboard":
            return TensorBoard(folder, note, constants)
        from harness.display.accelerate_tracker import AccelerateTracker  # loads torch

        return AccelerateTracker(name, folder, title, settings, note, constants)

    try:
        with redirect_stdout(sys.stderr):
            return WorkThread().call(opened, _OPENING)
    except Hangs as error:
        leave_behind(name)
        raise UsageError(
            f"The tracker {name} was not open after {_OPENING:g} s; see that its server answers, "
            "or leave --tracker out."
        ) from error
    except Exception as error:  # another package's code: whatever it says becomes one sentence
        reason = redact(f"{type(error).__name__}: {error}")
        raise UsageError(
            f"The tracker {name} cannot be opened ({reason}); set it up, or leave --tracker out."
        ) from error
