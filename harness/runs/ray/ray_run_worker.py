"""Work on a cluster: one attempt at one run, and the actor that attempts report to.

The desk is an actor beside whoever started the runs. It knows which attempt at a run is the last
one, so that one that was thought lost and is not can never be mistaken for it: it is told to stop,
and what it sends is not taken.
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
from harness.runs.ray.run_snapshot import Snapshot, install, take
from harness.runs.request import build_request
from harness.settings.sources import Scalar
from harness.storage.lock import Lock
from harness.types import Episode

_HELD = 60.0  # seconds to wait for a lock whose holder was lost
_LOOK = 1.0  # seconds between questions whether to go on


@dataclass(frozen=True)
class Order:
    """One attempt at a run: `attempt` counts from 1; `every` is seconds between saves sent home."""

    name: str
    attempt: int
    request: Mapping[str, Mapping[str, Scalar]]
    place: str
    shared: bool
    home: str
    track: tuple[str, ...]
    every: float


@dataclass(frozen=True)
class Ended:
    """The end of an attempt; `code` and `told` describe a failure."""

    how: Literal["done", "stopped", "failed"]
    code: int = 0
    told: str = ""


class Desk:
    """Knows which attempts go on, where, and keeps the last save of each until it is fetched."""

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}
        self._where: dict[str, str] = {}
        self._saves: dict[str, Snapshot] = {}
        self._stop = False

    def expect(self, name: str, attempt: int) -> None:
        """From now on this attempt alone counts."""
        self._attempts[name] = attempt
        self._where.pop(name, None)
        self._saves.pop(name, None)

    def begin(self, name: str, attempt: int, where: str) -> bool:
        """An attempt says where it is; returns whether it may go on."""
        if self._attempts.get(name) == attempt:
            self._where[name] = where
        return self.go(name, attempt)

    def go(self, name: str, attempt: int) -> bool:
        """True if an attempt may begin."""
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


class _Courier(Callback):
    """Sends a run's saves home: after a round, and now and then while it is tested."""

    def __init__(self, ray: Any, desk: Any, order: Order, folder: Path) -> None:
        self._ray, self._desk, self._order, self._folder = ray, desk, order, folder
        self._sent, self._asked, self._go = time.monotonic(), 0.0, True

    def stop(self) -> bool:
        """True once the driver asks to stop."""
        now = time.monotonic()
        if self._go and now - self._asked >= _LOOK:
            asked = self._desk.go.remote(self._order.name, self._order.attempt)
            self._go, self._asked = bool(self._ray.get(asked)), now
        return not self._go

    def send(self) -> None:
        """Send the run as it is on disk now, and wait until it has been taken."""
        if not self._order.shared:
            save = take(self._folder)
            order = self._order
            self._ray.get(self._desk.keep.remote(order.name, order.attempt, save))
            self._sent = time.monotonic()

    def _now_and_then(self) -> None:
        if time.monotonic() - self._sent >= self._order.every:
            self.send()

    @override
    def round(self, *_: object) -> None:
        self._now_and_then()

    @override
    def episode(self, episode: Episode, purpose: Purpose) -> None:
        if purpose == "evaluate":
            self._now_and_then()


def attempt(order: Order, desk: Any, save: Snapshot | None) -> Ended:
    """Finish a run on this machine, in its own directory or in a copy that is sent home."""
    ray: Any = importlib.import_module("ray")
    where = ray.util.get_node_ip_address()
    if not ray.get(desk.begin.remote(order.name, order.attempt, where)):
        return Ended("stopped")
    if os.path.isdir(order.home) and order.home not in sys.path:
        sys.path.append(order.home)  # worlds of one's own are found, nothing is shadowed
    place = Path(order.place)
    folder = place if order.shared else Path(tempfile.mkdtemp(prefix="harness-run-"))
    courier = _Courier(ray, desk, order, folder)
    try:
        if save is not None:
            install(save, folder)
        elif not (place / "config.toml").exists():
            raise RunError(
                f"Node {where} does not see {place}; add --set executor.run_dirs=shipped, so that "
                "saves are sent home."
            )
        _await_lock(folder)
        request = build_request(order.request)
        finish_one(request, folder, Callbacks([courier]), courier.stop, order.track)
    except Interrupted:
        courier.send()
        return Ended("stopped")
    except HarnessError as error:
        courier.send()
        return Ended("failed", error.exit_code, str(error))
    except Exception as error:  # whatever a world or method raises is told, not lost
        return Ended("failed", 1, reason(error))
    finally:
        if not order.shared:
            _last(courier, folder)
    return Ended("done")


def _last(courier: _Courier, folder: Path) -> None:
    """Send a finished run home, and leave nothing behind."""
    if (folder / "entry.json").exists():
        courier.send()
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
