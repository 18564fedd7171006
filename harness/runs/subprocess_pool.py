"""Processes side by side on this machine, each a command of the harness."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from harness.display.console_text import plain
from harness.errors import RunError
from harness.evaluate import Interrupted
from harness.runs.limits import LimitReached
from harness.runs.signals import Terminated
from harness.storage.own_files import open_own
from harness.system.process_end import environment_of_child

_PATIENCE = 60.0  # seconds to save in, once asked to stop
_AT_ONCE = 2.0  # seconds to end in, once told to stop now


@dataclass(frozen=True)
class Job:
    """A command, what progress calls it, and where what it says on stderr goes."""

    name: str
    command: tuple[str, ...]
    log: Path


@dataclass(frozen=True)
class _Started:
    """A command under way: since when, and in which of the places side by side."""

    job: Job
    at: float
    slot: int


def harness_command(*words: str) -> tuple[str, ...]:
    """This harness as a command of its own, by the same Python."""
    return (sys.executable, "-m", "harness", *words)


class SubprocessPool:
    """Runs commands, at most `jobs` at once; the first that fails stops the others politely.

    `ended` is told each job that ended well, with its seconds; `look` is called all the time. Of
    several `gpus`, named as in CUDA_VISIBLE_DEVICES, each command sees one.
    """

    def __init__(
        self,
        jobs: int,
        ended: Callable[[Job, float], None],
        look: Callable[[Sequence[Job]], None] = lambda running: None,
        gpus: Sequence[str] = (),
    ) -> None:
        self._jobs, self._ended, self._look = jobs, ended, look
        self._gpus = gpus if len(gpus) > 1 else ()
        self._running: dict[subprocess.Popen[bytes], _Started] = {}
        self._limited: list[str] = []

    def work(self, wanted: Sequence[Job], stop: Callable[[], bool] = lambda: False) -> None:
        """Run them all.

        Raises:
            RunError: One failed; with its last words.
            Interrupted: `stop` said so; what ran was asked to save, and has ended.
            LimitReached: Some stopped at a limit of their own; the others have ended.
        """
        waiting = deque(wanted)
        try:
            while waiting or self._running:
                if stop():
                    raise Interrupted
                while waiting and len(self._running) < self._jobs:
                    self._start(waiting.popleft())
                for job, seconds in self._finished():
                    self._ended(job, seconds)
                self._look([started.job for started in self._running.values()])
                time.sleep(0.2)
        except Terminated:
            self._stop(at_once=True)
            raise
        finally:
            self._stop()
        if self._limited:
            raise LimitReached("; ".join(self._limited))

    def _start(self, job: Job) -> None:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        # One thread each: processes side by side gain more than threads within so small a model.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        environment |= environment_of_child()
        slot = self._free_slot()
        if self._gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        with open_own(job.log, "wb") as log:
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment,
                # Ctrl-C reaches this process alone, which then asks the others to save (`_stop`).
                start_new_session=True,
            )
        self._running[process] = _Started(job, time.monotonic(), slot)

    def _free_slot(self) -> int:
        """The lowest place that no running command has, so that GPUs are shared out evenly."""
        taken = {started.slot for started in self._running.values()}
        return next(slot for slot in count() if slot not in taken)

    def _finished(self) -> Iterator[tuple[Job, float]]:
        for process, started in list(self._running.items()):
            job = started.job
            if process.poll() is None:
                continue
            del self._running[process]
            if process.returncode == LimitReached.exit_code:
                last = job.log.read_text(errors="replace").strip().splitlines()[-1:]
                self._limited.append(plain("".join(last).removeprefix(LimitReached.saved), 1000))
                continue
            if process.returncode != 0:
                told = plain(job.log.read_text(errors="replace").strip()[-300:], 300)
                raise RunError(
                    f"{job.name} failed with exit code {process.returncode} ({told}); mend that, "
                    "and the same command goes on from here."
                )
            yield job, time.monotonic() - started.at

    def _stop(self, at_once: bool = False) -> None:
        """Let what still runs save its last round; whatever does not stop is killed.

        `at_once`, or if a signal comes meanwhile, they are told to stop now instead.
        """
        try:
            # All are asked before any is waited for, so that they save at the same time.
            for process in self._running:
                process.send_signal(signal.SIGTERM if at_once else signal.SIGINT)
            until = time.monotonic() + (_AT_ONCE if at_once else _PATIENCE)
            for process in self._running:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=max(0.0, until - time.monotonic()))
        except KeyboardInterrupt:
            if not at_once:
                self._stop(at_once=True)
            raise
        finally:
            for process in self._running:
                process.kill()
                process.wait()
            self._running.clear()
