"""One command in a running container: its output up to a size, its status, within a time.

The daemon's stream is read from the socket itself, because only there a deadline can be kept.
Before the command starts it waits for a line from us: the HTTP layer reads ahead while it parses
the daemon's answer, and would swallow whatever a fast command says until then.
"""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

from envs.containers.errors import SandboxError

Stopped = Literal["", "time", "output"]

# The script comes as an argument, $0, and is no part of this line: nothing in it needs quoting.
_GO = 'read -r go; exec /bin/sh -c "$0" </dev/null'
_GO_MERGED = f"{_GO} 2>&1"
# The daemon's frames: one byte for the stream, three zeros, four for the length of what follows.
_HEADER = 8
_HELD, _STDOUT = 0, 1
_GRACE_SECONDS = 0.25
_PIECE = 1 << 16


@dataclass(slots=True)
class BoundedOutput:
    """The first and the last bytes of a stream of any length: at most `limit` in all."""

    limit: int
    total: int = 0
    _head: bytearray = field(default_factory=bytearray)
    _tail: bytearray = field(default_factory=bytearray)

    def add(self, piece: bytes) -> None:
        """The next bytes of the stream."""
        self.total += len(piece)
        room = self.limit - self.limit // 2 - len(self._head)
        self._head += piece[:room] if room > 0 else b""
        self._tail += piece[max(0, room) :]
        del self._tail[: max(0, len(self._tail) - self.limit // 2)]

    def bytes(self) -> bytes:
        """The kept bytes; a line between the halves says how much was left out."""
        missing = self.total - len(self._head) - len(self._tail)
        gap = f"\n[... {missing} bytes left out ...]\n".encode() if missing else b""
        return bytes(self._head) + gap + bytes(self._tail)


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a command and how it ended.

    `both` has standard output and error, `out` standard output alone. `status` is the
    exit status, or None where the command was stopped for the reason in `stopped`. `held`: when it
    ended, something it had started still held its output open.
    """

    both: bytes
    out: bytes
    status: int | None
    stopped: Stopped
    seconds: float
    held: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run: its user, time limit and limits of output.

    `merged`: standard error goes where standard output goes, in the order written. The daemon reads
    the two apart and mixes them as it likes.
    """

    script: str
    user: str
    folder: str
    environment: Mapping[str, str]
    seconds: float
    output_bytes: int
    output_stop: int
    merged: bool = True


def execute(api: Any, container: str, command: Command) -> Output:
    """Run a command and wait for it, for its time limit at most; never kills anything itself."""
    made = api.exec_create(
        container,
        ["/bin/sh", "-c", _GO_MERGED if command.merged else _GO, command.script],
        stdin=True,
        user=command.user,
        workdir=command.folder,
        environment=dict(command.environment),
    )
    stream = api.exec_start(made["Id"], socket=True)
    # The stream is a view of the socket: the file descriptor is let go when both are closed.
    with closing(stream), closing(_raw(stream)) as raw:
        started = time.monotonic()
        raw.sendall(b"\n")
        return _listen(api, made["Id"], raw, command, started)


def _raw(stream: Any) -> socket.socket:
    found: socket.socket = getattr(stream, "_sock", stream)
    return found


def _listen(api: Any, process: str, raw: socket.socket, command: Command, started: float) -> Output:
    both, out = BoundedOutput(command.output_bytes), BoundedOutput(command.output_bytes)
    stopped: Stopped = ""
    held = False
    for kind, piece in _pieces(api, process, raw, started + command.seconds):
        both.add(piece)
        if kind == _STDOUT:
            out.add(piece)
        held = kind == _HELD
        if both.total > command.output_stop:
            stopped = "output"
            break
    status = None if stopped else _status(api, process, started + command.seconds)
    if status is None and not stopped:
        stopped = "time"
    seconds = time.monotonic() - started
    return Output(both.bytes(), out.bytes(), status, stopped, seconds, held)


def _pieces(
    api: Any, process: str, raw: socket.socket, deadline: float
) -> Iterator[tuple[int, bytes]]:
    """(1 for standard output or 2 for error, bytes) until the stream, the command or time ends.

    Where the command ends before its stream does, the last pair is (0, nothing).
    """
    received = bytearray()
    kind = missing = 0
    ended_at: float | None = None
    while (now := time.monotonic()) < deadline:
        # A process left in the background may hold the stream open after its command ended.
        if ended_at is not None and now - ended_at > _GRACE_SECONDS:
            yield _HELD, b""
            return
        # A silent command says nothing on the socket: wake up now and then to see whether it ended.
        raw.settimeout(min(_GRACE_SECONDS, max(0.01, deadline - now)))
        try:
            piece = raw.recv(_PIECE)
        except TimeoutError:
            if ended_at is None and not api.exec_inspect(process)["Running"]:
                ended_at = time.monotonic()
            continue
        if not piece:
            return
        received += piece
        while received:
            if not missing:
                if len(received) < _HEADER:
                    break
                kind, missing = received[0], int.from_bytes(received[4:_HEADER], "big")
                del received[:_HEADER]
            yield kind, bytes(received[:missing])
            taken = min(missing, len(received))
            del received[:taken]
            missing -= taken


def _status(api: Any, process: str, deadline: float) -> int | None:
    """The exit status; None where the command is still running at the deadline."""
    # The stream may end a moment before the daemon knows the status: ask again, ever more slowly.
    pause = 0.005
    while True:
        told = api.exec_inspect(process)
        if not told["Running"]:
            if told["ExitCode"] is None:
                raise SandboxError("Docker lost the exit status of a command; play it again.")
            return int(told["ExitCode"])
        if time.monotonic() >= deadline:
            return None
        time.sleep(pause)
        pause = min(0.1, pause * 2)
