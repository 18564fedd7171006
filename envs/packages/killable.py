"""Processes that do for a world what may hang, crash or eat memory, and can be killed for it.

A worker runs one file of this folder that defines `make()`, which returns the function from a job
to an answer, both JSON objects. One worker does one job at a time; asking may be done from any
thread. What a job computes is a fact about the job alone: a worker that was killed is replaced, and
the new one gives the same answers. Jobs are numbered, and an answer tells the number of its job, so
that whatever else comes through the pipe is never taken for an answer.
"""

import atexit
import json
import os
import queue
import select
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

START_SECONDS = 120.0  # importing a large library on a busy machine
_SERVE = Path(__file__).with_name("killable_worker.py")
LONGEST_LINE = 64 * 1024**2
"""Bytes of one answer: a process that says more is killed, before it fills this one's memory."""
_MEBIBYTE = 1024**2
_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


class WorkerFailed(Exception):
    """A worker could not be started, died or was killed; the message says which."""


class _Worker:
    """One process, one job at a time."""

    def __init__(self, script: Path, megabytes: int, python: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # open while the process lives
        command = [python, "-P", str(_SERVE), str(script), str(megabytes * _MEBIBYTE)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_surroundings(python),
                bufsize=0,
                start_new_session=True,  # whatever it starts is in its group, and dies with it
            )
        except OSError as reason:
            self._errors.close()
            raise WorkerFailed(f"{python} cannot be started ({reason.strerror})") from reason
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._asked = 0
        greeting = self._line(START_SECONDS, "starting")
        if "failed" in greeting:
            self.kill()
            raise WorkerFailed(str(greeting["failed"]))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it can take a job."""
        return self._process.poll() is None

    def ask(self, job: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Its answer; raises WorkerFailed after killing it if it takes longer or dies."""
        self._asked += 1
        told = {**job, "seconds": seconds, "job": self._asked}
        end = time.monotonic() + seconds
        try:
            self._say(json.dumps(told).encode("ascii") + b"\n", end)
        except BrokenPipeError:
            raise WorkerFailed(self._obituary()) from None
        line = self._line(seconds, "it", end)
        if line.pop("job", None) != self._asked:
            self.kill()
            raise WorkerFailed("it said what nobody had asked for")
        return line

    def _say(self, line: bytes, end: float) -> None:
        """Write a line; a process that reads nothing is killed when its time is up."""
        with selectors.DefaultSelector() as room:
            room.register(self._stdin, selectors.EVENT_WRITE)
            while line:
                if not room.select(max(0.0, end - time.monotonic())):
                    self.kill()
                    raise WorkerFailed("it did not read what it was asked in time")
                line = line[os.write(self._stdin.fileno(), line[: select.PIPE_BUF]) :]

    def kill(self) -> None:
        """End it with all it started and let go of its pipes; harmless if it is dead."""
        self._kill_group()
        self._process.kill()
        self._process.wait()
        self._selector.close()
        for stream in (self._stdin, self._stdout, self._errors):
            stream.close()

    def _kill_group(self) -> None:
        # Not after it was waited for: its number may then be somebody else's.
        if self._process.returncode is None and hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _line(self, seconds: float, doing: str, end: float | None = None) -> dict[str, Any]:
        received = bytearray()
        end = time.monotonic() + seconds if end is None else end
        while not received.endswith(b"\n"):
            if not self._selector.select(max(0.0, end - time.monotonic())):
                self.kill()
                raise WorkerFailed(f"{doing} took longer than {seconds:g} s")
            chunk = os.read(self._stdout.fileno(), 65536)
            if not chunk:
                raise WorkerFailed(self._obituary())
            received += chunk
            if len(received) > LONGEST_LINE:
                self.kill()
                raise WorkerFailed(f"{doing} said more than {LONGEST_LINE // _MEBIBYTE} MB at once")
        try:
            line = json.loads(received)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict):
            self.kill()
            raise WorkerFailed(f"{doing} gave no answer but {bytes(received[:60])!r}")
        return line

    def _obituary(self) -> str:
        with suppress(subprocess.TimeoutExpired):  # it may have closed its output only
            self._process.wait(1.0)
        self._kill_group()
        code = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
        self.kill()
        said = f": {last[-1]}" if last else ""
        return f"the worker died with exit code {code}{said}"


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
