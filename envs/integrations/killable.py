"""Processes that do for a world what may hang, crash or eat memory, and can be killed for it.

A worker runs one file of this folder that defines `make()`, which returns the function from a job
to an answer, both JSON objects. One worker does one job at a time; asking may be done from any
thread. What a job computes is a fact about the job alone: a worker that was killed is replaced, and
the new one gives the same answers.
"""

import atexit
import os
import queue
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from envs.json_worker import JSONWorker

_SERVE = Path(__file__).with_name("killable_worker.py")
_MEBIBYTE = 1024**2
_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


class _Worker(JSONWorker):
    """A process that serves one file; whatever it starts is in its group, and dies with it."""

    longest = 64 * _MEBIBYTE

    def __init__(self, script: Path, megabytes: int, python: str) -> None:
        command = [python, "-P", str(_SERVE), str(script), str(megabytes * _MEBIBYTE)]
        super().__init__(command, _surroundings(python), own_group=True)


def _surroundings(python: str) -> dict[str, str]:
    """The environment of a worker: another interpreter finds its own packages, not ours."""
    ours = python == sys.executable
    kept = {k: v for k, v in os.environ.items() if ours or k not in _NOT_PASSED_ON}
    # The order of sets must not decide what is generated; no byte code is left behind.
    return kept | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


class Workers:
    """A pool of processes that run one file, started when first needed.

    `python` is the interpreter that runs them, this one where it is not named.
    """

    def __init__(
        self, script: Path, *, count: int = 1, megabytes: int = 4096, python: str = ""
    ) -> None:
        self._script, self._megabytes, self._python = script, megabytes, python or sys.executable
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._count = count
        # The kernel's death signal follows the *thread* that started a process, so all are
        # started by one thread that lives as long as the pool.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="worker-starter")
        self._closed = False

    def ask(self, job: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to a job; raises WorkerFailed where there is none within that time.

        Waiting for a free worker and starting one are no part of the time.
        """
        if self._closed:
            raise RuntimeError("these Workers are closed; make new ones")
        worker = self._idle.get()
        try:
            if worker is None or not worker.alive():
                if worker is not None:
                    worker.kill()
                worker = None
                worker = self._start()
            return worker.ask(job, seconds)
        except BaseException:  # an interrupted worker still has an answer to give: to nobody
            if worker is not None:
                worker.kill()
            raise
        finally:
            self._idle.put(worker)

    def _start(self) -> _Worker:
        started = self._starter.submit(_Worker, self._script, self._megabytes, self._python)
        return started.result()

    def close(self) -> None:
        """End the workers, after the jobs under way; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        for _ in range(self._count):
            worker = self._idle.get()
            if worker is not None:
                worker.kill()
        self._starter.shutdown()


_shared: dict[tuple[int, Path], Workers] = {}
_shared_lock = threading.Lock()


def shared_workers(script: Path, *, count: int = 1, megabytes: int = 4096) -> Workers:
    """This process's own pool for a file, made on first use and closed at exit.

    A forked child gets a pool of its own: two processes on one pipe would mix up answers.
    """
    with _shared_lock:
        key = (os.getpid(), script)
        if key not in _shared:
            _shared[key] = Workers(script, count=count, megabytes=megabytes)
            atexit.register(_close_if_mine, key)
        return _shared[key]


def _close_if_mine(key: tuple[int, Path]) -> None:
    if key[0] == os.getpid():
        _shared[key].close()
