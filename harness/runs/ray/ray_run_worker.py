"""Work on a cluster: one attempt at one run, and the actor that attempts report to.

The collector is an actor on the node that started the runs. It knows the latest attempt at each
run. An earlier attempt that was thought lost, but still runs, is asked to stop, and its saves are
refused.
"""

import importlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from typing_extensions import override

from harness.callbacks import Callback, Callbacks
from harness.errors import HarnessError, RunError
from harness.evaluate import Interrupted
from harness.policies.base import Purpose
from harness.rollout import reason
from harness.runs.finish import finish_one
from harness.runs.limits import LimitReached
from harness.runs.ray.run_snapshot import Snapshot, install, take
from harness.runs.request import build_request
from harness.settings.sources import Scalar
from harness.storage.lock import Lock
from harness.types import Episode

_HELD = 60.0  # seconds to wait for a lock whose holder was lost
_STOP_CHECK = 1.0  # seconds between checks whether to go on


@dataclass(frozen=True)
class RunTask:
    """One attempt at a run: `attempt` counts from 1, `save_interval` is in seconds.

    `shared` says that all nodes see `run_dir`; else the worker has a copy and sends saves back.
    """

    name: str
    attempt: int
    request: Mapping[str, Mapping[str, Scalar]]
    run_dir: str
    shared: bool
    working_dir: str
    track: tuple[str, ...]
    save_interval: float


@dataclass(frozen=True)
class AttemptResult:
    """The end of an attempt; `code` (an exit code) and `message` describe a failure or a limit."""

    status: Literal["done", "stopped", "limited", "failed"]
    code: int = 0
    message: str = ""


class ResultCollector:
    """Actor that knows the latest attempts and their nodes, and keeps their newest saves."""

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}
        self._where: dict[str, str] = {}
        self._saves: dict[str, Snapshot] = {}
        self._stop = False

    def expect(self, name: str, attempt: int) -> None:
        """Make this the only attempt whose saves are taken."""
        self._attempts[name] = attempt
        # What an earlier attempt reported is no longer the run's.
        self._where.pop(name, None)
        self._saves.pop(name, None)

    def begin(self, name: str, attempt: int, where: str) -> bool:
        """Record an attempt's node; returns whether it may go on."""
        if self._attempts.get(name) == attempt:
            self._where[name] = where
        return self.go(name, attempt)

    def go(self, name: str, attempt: int) -> bool:
        """True if an attempt may go on."""
        return not self._stop and self._attempts.get(name) == attempt

    def keep(self, name: str, attempt: int, save: Snapshot) -> None:
        """Take a save, unless another attempt has been made since."""
        if self._attempts.get(name) == attempt:
            self._saves[name] = save

    def stop(self) -> None:
        """Let all attempts save and end."""
        self._stop = True

    def fetch(self) -> tuple[dict[str, str], dict[str, Snapshot]]:
        """The nodes of attempts, and saves that were not fetched before."""
        saves, self._saves = self._saves, {}
        return dict(self._where), saves


class _SnapshotSender(Callback):
    """Sends saves of a run to the collector: after rounds, and at intervals in evaluation."""

    def __init__(self, ray: Any, collector: Any, task: RunTask, folder: Path) -> None:
        self._ray, self._collector, self._task, self._folder = ray, collector, task, folder
        self._sent, self._checked, self._go = time.monotonic(), 0.0, True

    def stop(self) -> bool:
        """True once the driver asks to stop."""
        now = time.monotonic()
        # Not at every question: each check is a call to another machine.
        if self._go and now - self._checked >= _STOP_CHECK:
            may_go = self._collector.go.remote(self._task.name, self._task.attempt)
            self._go, self._checked = bool(self._ray.get(may_go)), now
        return not self._go

    def send(self) -> None:
        """Send the run as it is on disk now, and wait until it has been taken."""
        if not self._task.shared:
            save = take(self._folder)
            task = self._task
            self._ray.get(self._collector.keep.remote(task.name, task.attempt, save))
            self._sent = time.monotonic()

    def _send_if_due(self) -> None:
        if time.monotonic() - self._sent >= self._task.save_interval:
            self.send()

    @override
    def round(self, *_: object) -> None:
        self._send_if_due()

    @override
    def episode(self, episode: Episode, purpose: Purpose) -> None:
        if purpose == "evaluate":
            self._send_if_due()


def attempt(task: RunTask, collector: Any, save: Snapshot | None) -> AttemptResult:
    """Finish a run on this machine, in its own directory or in a copy that is sent back."""
    ray: Any = importlib.import_module("ray")
    where = ray.util.get_node_ip_address()
    if not ray.get(collector.begin.remote(task.name, task.attempt, where)):
        return AttemptResult("stopped")
    if os.path.isdir(task.working_dir) and task.working_dir not in sys.path:
        sys.path.append(task.working_dir)  # the user's environments are found, nothing is shadowed
    run_dir = Path(task.run_dir)
    folder = run_dir if task.shared else Path(tempfile.mkdtemp(prefix="harness-run-"))
    sender = _SnapshotSender(ray, collector, task, folder)
    try:
        if save is not None:
            install(save, folder)
        elif not (run_dir / "config.toml").exists():
            raise RunError(
                f"Node {where} does not see {run_dir}; add --set executor.run_dirs=shipped, so "
                "that saves are sent back."
            )
        _await_lock(folder)
        request = build_request(task.request)
        finish_one(request, folder, Callbacks([sender]), sender.stop, task.track)
    except LimitReached as reached:
        sender.send()
        return AttemptResult("limited", reached.exit_code, str(reached))
    except Interrupted:
        sender.send()
        return AttemptResult("stopped")
    except HarnessError as error:
        sender.send()
        return AttemptResult("failed", error.exit_code, str(error))
    except Exception as error:  # whatever an environment or method raises is reported
        return AttemptResult("failed", 1, reason(error))
    finally:
        if not task.shared:
            _send_last(sender, folder)
    return AttemptResult("done")


def _send_last(sender: _SnapshotSender, folder: Path) -> None:
    """Send a finished run to the collector, and remove the copy."""
    if (folder / "entry.json").exists():
        sender.send()
    shutil.rmtree(folder, ignore_errors=True)


def _await_lock(folder: Path) -> None:
    """Wait for a lock whose holder is on its way out; raises RunError where it stays."""
    deadline = time.monotonic() + _HELD
    while True:
        try:
            Lock(folder / "run.lock").release()
            return
        except RunError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(1)
