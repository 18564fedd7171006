"""A pool of killable worker processes, for graders and for environments of other packages.

A worker runs one script that defines `make()`, which returns the function from a job to an answer,
both JSON objects. One worker does one job at a time; `ask` may be called from any thread. An answer
depends on the job alone: a worker that was killed is replaced, and the new one answers the same.

Why not a library: pebble's ProcessPool (5.2.3, tried on Linux) has deadlines and restarts, but it
unpickles answers, which runs code of the worker's choice in this process; its workers outlive a
parent that is killed; what a worker started outlives a deadline; a worker that ignores SIGTERM
lives three seconds longer; and there is neither a memory limit nor a worker in an interpreter of
its own. See docs/libraries.md.
"""

import atexit
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from envs.workers.json_worker import MEBIBYTE, JSONWorker, WorkerLabels

SERVE = Path(__file__).with_name("serve.py")
MAX_ANSWER_BYTES = 64 * MEBIBYTE
_OUR_PYTHON_ONLY = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


def _process_env(python: str) -> dict[str, str]:
    """The environment variables of a worker: another interpreter finds its own packages."""
    ours = python == sys.executable
    kept = {k: v for k, v in os.environ.items() if ours or k not in _OUR_PYTHON_ONLY}
    # The order of sets must not decide what is generated; no byte code is left behind.
    return kept | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


class WorkerPool:
    """Worker processes that run one script, started when first needed.

    Args:
        script: a Python file that defines `make()`.
        count: how many workers there are.
        megabytes: address space of each (a limit on Linux only).
        python: the interpreter that runs them; this one where it is "".
        max_answer_bytes: a worker that writes a longer answer is killed.
        labels: words for a worker in error messages.
        is_answer: False for an answer of the wrong form; the worker that sent it is killed.
    """

    def __init__(
        self,
        script: Path,
        *,
        count: int = 1,
        megabytes: int = 4096,
        python: str = "",
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        labels: WorkerLabels | None = None,
        is_answer: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> None:
        self._script, self._megabytes, self._python = script, megabytes, python or sys.executable
        self._max_answer_bytes, self._labels = max_answer_bytes, labels or WorkerLabels()
        self._is_answer = is_answer
        # Last in, first out: a worker that runs already is asked before an empty place is filled.
        self._idle: queue.LifoQueue[JSONWorker | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._count = count
        # The kernel's death signal follows the *thread* that started a process, so all are
        # started by one thread that lives as long as the pool.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="worker-starter")
        self._closed = False

    def ask(
        self, job: Mapping[str, Any], seconds: float, cpu_seconds: float = 0.0
    ) -> dict[str, Any]:
        """The answer to a job; raises WorkerFailed where there is none within that time.

        Waiting for a free worker and starting one are no part of the time. `cpu_seconds` limits the
        worker's own processor time (0: no limit).
        """
        if self._closed:
            raise RuntimeError("this WorkerPool is closed; make a new one")
        worker = self._idle.get()
        try:
            if worker is None or not worker.alive():
                if worker is not None:
                    worker.kill()
                # Should the start fail, an empty place is given back below, not a dead worker.
                worker = None
                worker = self._starter.submit(self._start).result()
            answer = worker.ask(job, seconds, cpu_seconds)
            if self._is_answer is not None and not self._is_answer(answer):
                worker.reject()
            return answer
        except BaseException:  # an interrupted worker still has an answer to give: to nobody
            if worker is not None:
                worker.kill()
            raise
        finally:
            self._idle.put(worker)

    def _start(self) -> JSONWorker:
        memory = str(self._megabytes * MEBIBYTE)
        # -P: the script's folder is not searched for modules, so nothing there shadows a package.
        command = [self._python, "-P", str(SERVE), str(self._script), memory]
        env = _process_env(self._python)
        return JSONWorker(command, env, self._max_answer_bytes, self._labels)

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


_shared: dict[tuple[int, Path], WorkerPool] = {}
_shared_lock = threading.Lock()


def shared_pool(script: Path, *, count: int = 1, megabytes: int = 4096) -> WorkerPool:
    """This process's own pool for a script, made on first use and closed at exit.

    A forked child gets a pool of its own: two processes on one pipe would mix up answers.
    """
    with _shared_lock:
        key = (os.getpid(), script)
        if key not in _shared:
            _shared[key] = WorkerPool(script, count=count, megabytes=megabytes)
            atexit.register(_close_if_mine, key)
        return _shared[key]


def _close_if_mine(key: tuple[int, Path]) -> None:
    # A forked child inherits the registration, but the workers are its parent's.
    if key[0] == os.getpid():
        _shared[key].close()
