"""A process that does what may hang, crash or eat memory, and can be killed for it.

It is asked one job at a time: a line of JSON goes to its standard input, a line of JSON comes back.
Jobs are numbered, and an answer tells the number of its job, so that whatever else comes through
the pipe is never taken for an answer. A process that is late, says anything else or dies is killed,
and whoever asked is told why.
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
from typing import Any, ClassVar

START_SECONDS = 120.0  # importing a large library on a busy machine; no part of a job's time
_MEBIBYTE = 1024**2


class WorkerFailed(Exception):
    """A worker could not be started, died or was killed; the message says which."""


class JSONWorker:
    """One process, one job at a time; what it is called in what is told of it is its class's.

    `own_group` says that it starts processes of its own, which are to die with it.
    """

    name: ClassVar[str] = "the worker"
    speaker: ClassVar[str] = "it"
    doing: ClassVar[str] = "it"
    product: ClassVar[str] = "answer"
    longest: ClassVar[int]
    """Bytes of one answer: whoever says more is killed, before it fills this process's memory."""

    def __init__(
        self, command: Sequence[str], surroundings: Mapping[str, str], own_group: bool
    ) -> None:
        self._own_group = own_group
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # open while the process lives
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=surroundings,
                bufsize=0,
                start_new_session=own_group,
            )
        except OSError as reason:
            self._errors.close()
            raise WorkerFailed(f"{command[0]} cannot be started ({reason.strerror})") from reason
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._asked = 0
        greeting = self._line(time.monotonic() + START_SECONDS, START_SECONDS, "starting")
        if why := self.refusal(greeting):
            self.kill()
            raise WorkerFailed(why)

    def refusal(self, greeting: Mapping[str, Any]) -> str:
        """Why a worker that said this first cannot be used; "" where it can."""
        return str(greeting["failed"]) if "failed" in greeting else ""

    def expected(self, answer: Mapping[str, Any]) -> bool:
        """Whether an answer, the number of its job apart, is of the form that answers have."""
        return True

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it can take a job.

        A process that died is not waited for here: that would set its number free, by which those
        that it started are still to be killed.
        """
        if self._process.returncode is None and hasattr(os, "waitid"):
            with suppress(ChildProcessError):  # somebody else waited for it
                peek = os.WEXITED | os.WNOHANG | os.WNOWAIT
                return os.waitid(os.P_PID, self._process.pid, peek) is None
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
        line = self._line(end, seconds, self.doing)
        if line.pop("job", None) != self._asked or not self.expected(line):
            self.kill()
            raise WorkerFailed(f"{self.speaker} said what nobody had asked for")
        return line

    def kill(self) -> None:
        """End it, with all it started, and let go of its pipes; harmless if it is dead."""
        self._kill_group()
        self._process.kill()
        self._process.wait()
        self._selector.close()
        for stream in (self._stdin, self._stdout, self._errors):
            stream.close()

    def _kill_group(self) -> None:
        # Not after it was waited for: its number may then be somebody else's.
        alone = not (self._own_group and hasattr(os, "killpg"))
        if self._process.returncode is None and not alone:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _say(self, line: bytes, end: float) -> None:
        """Write a line; a process that reads nothing is killed when its time is up."""
        with selectors.DefaultSelector() as room:
            room.register(self._stdin, selectors.EVENT_WRITE)
            while line:
                if not room.select(max(0.0, end - time.monotonic())):
                    self.kill()
                    raise WorkerFailed(f"{self.speaker} did not read what it was asked in time")
                line = line[os.write(self._stdin.fileno(), line[: select.PIPE_BUF]) :]

    def _line(self, end: float, seconds: float, doing: str) -> dict[str, Any]:
        received = bytearray()
        while not received.endswith(b"\n"):
            if not self._selector.select(max(0.0, end - time.monotonic())):
                self.kill()
                raise WorkerFailed(f"{doing} took longer than {seconds:g} s")
            chunk = os.read(self._stdout.fileno(), 65536)
            if not chunk:
                raise WorkerFailed(self._obituary())
            received += chunk
            if len(received) > self.longest:
                self.kill()
                most = f"{self.longest // _MEBIBYTE} MB"
                raise WorkerFailed(f"{doing} said more than {most} at once")
        try:
            line = json.loads(received)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict):
            self.kill()
            raise WorkerFailed(f"{doing} gave no {self.product} but {bytes(received[:60])!r}")
        return line

    def _obituary(self) -> str:
        end = time.monotonic() + 1.0
        while self.alive() and time.monotonic() < end:  # it may have closed its output only
            time.sleep(0.005)
        self._kill_group()
        self._process.kill()
        code = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
        self.kill()
        said = f": {last[-1]}" if last else ""
        return f"{self.name} died with exit code {code}{said}"
