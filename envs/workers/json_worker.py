"""A worker process that is sent one job at a time as a line of JSON and can be killed.

Jobs are numbered, and an answer carries the number of its job, so that whatever else comes through
the pipe is never taken for an answer. A worker that is late, writes anything else or dies is
killed, and the caller gets WorkerFailed with the reason.

JSON and not pickle: reading a pickle runs code of the writer's choice, and a worker may have been
taken over by what it was given to read.
"""

import json
import os
import select
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

START_SECONDS = 120.0  # importing a large library on a busy machine; no part of a job's time
MEBIBYTE = 1024**2


SPENT = -int(getattr(signal, "SIGPROF", 0)) or None
"""Exit code of a worker that used up its processor time; None where there is no such limit."""


class WorkerFailed(Exception):
    """A worker could not be started, died or was killed; the message says which.

    `exit_code` is that of a worker that died by itself during a job (a negative number is the
    signal that ended it); None for all else.
    """

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class WorkerLabels:
    """Words for a worker in the messages of WorkerFailed."""

    name: str = "the worker"
    pronoun: str = "it"
    task: str = "it"
    product: str = "answer"


class JSONWorker:
    """One process, one job at a time.

    Args:
        command: the program and its arguments.
        process_env: its environment variables, all of them.
        max_answer_bytes: a longer answer has the worker killed before it fills this process's
            memory.
        labels: words for it in error messages.
    """

    def __init__(
        self,
        command: Sequence[str],
        process_env: Mapping[str, str],
        max_answer_bytes: int,
        labels: WorkerLabels,
    ) -> None:
        self._max_answer_bytes, self._labels = max_answer_bytes, labels
        # A file and not a pipe: nobody reads standard error while a job runs, and a full pipe would
        # stop the worker.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # open while the process lives
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=process_env,
                # select sees the pipe alone: bytes that waited in a buffer of Python's would be
                # overlooked.
                bufsize=0,
                start_new_session=True,  # a group of its own: what it starts is killed with it
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerFailed(f"{command[0]} cannot be started ({error.strerror})") from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._jobs_sent = 0
        greeting = self._read_line(time.monotonic() + START_SECONDS, START_SECONDS, "starting")
        if not greeting.get("ready"):
            self.kill()
            raise WorkerFailed(str(greeting.get("failed", f"{labels.name} did not start")))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def alive(self) -> bool:
        """True while it can take a job.

        A process that died is not waited for here: that would free its number, by which the
        processes that it started are still to be killed.
        """
        if self._process.returncode is None and hasattr(os, "waitid"):
            with suppress(ChildProcessError):  # somebody else waited for it
                peek = os.WEXITED | os.WNOHANG | os.WNOWAIT
                return os.waitid(os.P_PID, self._process.pid, peek) is None
        return self._process.poll() is None

    def ask(
        self, job: Mapping[str, Any], seconds: float, cpu_seconds: float = 0.0
    ) -> dict[str, Any]:
        """The answer to a job; raises WorkerFailed after killing it if it takes longer or dies.

        `seconds` pass on the wall clock; `cpu_seconds` are the worker's own processor time, so that
        a loaded machine changes nothing (0: no limit). The kernel ends a worker that has used
        them up, with SIGPROF.
        """
        self._jobs_sent += 1
        limits = {"seconds": seconds, "cpu_seconds": cpu_seconds}
        request = {**job, **limits, "job": self._jobs_sent}
        deadline = time.monotonic() + seconds
        try:
            # dumps escapes all but ASCII, so a lone surrogate in a model's reply can be sent too.
            self._write_line(json.dumps(request).encode("ascii") + b"\n", deadline)
        except BrokenPipeError:
            raise self._death() from None
        answer = self._read_line(deadline, seconds, self._labels.task)
        if answer.pop("job", None) != self._jobs_sent:
            self.reject()
        return answer

    def reject(self) -> None:
        """Kill a worker whose answer is not one to the job; always raises WorkerFailed."""
        self.kill()
        raise WorkerFailed(f"{self._labels.pronoun} sent an answer that nobody had asked for")

    def kill(self) -> None:
        """Kill it with all it started, and close its pipes; harmless if it is dead."""
        self._kill_group()
        self._process.kill()
        self._process.wait()
        self._selector.close()
        for stream in (self._stdin, self._stdout, self._stderr):
            stream.close()

    def _kill_group(self) -> None:
        # Not after it was waited for: its number may then be another process's.
        if self._process.returncode is None and hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _write_line(self, line: bytes, deadline: float) -> None:
        """Write a line; a process that reads nothing is killed when its time is up."""
        with selectors.DefaultSelector() as writable:
            writable.register(self._stdin, selectors.EVENT_WRITE)
            while line:
                if not writable.select(max(0.0, deadline - time.monotonic())):
                    self.kill()
                    raise WorkerFailed(f"{self._labels.pronoun} did not read its job in time")
                # At most PIPE_BUF bytes fit for certain: a longer write could block for ever.
                line = line[os.write(self._stdin.fileno(), line[: select.PIPE_BUF]) :]

    def _read_line(self, deadline: float, seconds: float, task: str) -> dict[str, Any]:
        received = bytearray()
        # JSON as written here has no raw line break, so one ends the message. Two lines read at
        # once are not one JSON value: the worker that sent an answer too many is killed.
        while not received.endswith(b"\n"):
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                self.kill()
                raise WorkerFailed(f"{task} took longer than {seconds:g} s")
            chunk = os.read(self._stdout.fileno(), 65536)
            if not chunk:
                raise self._death()
            received += chunk
            if len(received) > self._max_answer_bytes:
                self.kill()
                limit = f"{self._max_answer_bytes // MEBIBYTE} MB"
                raise WorkerFailed(f"{task} wrote more than {limit} at once")
        try:
            line = json.loads(received)
        # RecursionError: nesting deep enough to exhaust the parser is an answer a worker may send.
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict):
            self.kill()
            raise WorkerFailed(
                f"{task} gave no {self._labels.product} but {bytes(received[:60])!r}"
            )
        return line

    def _death(self) -> WorkerFailed:
        deadline = time.monotonic() + 1.0
        while self.alive() and time.monotonic() < deadline:  # it may have closed its output only
            time.sleep(0.005)
        self._kill_group()
        self._process.kill()
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
        self.kill()
        last_line = f": {lines[-1]}" if lines else ""
        return WorkerFailed(f"{self._labels.name} died with exit code {code}{last_line}", code)
