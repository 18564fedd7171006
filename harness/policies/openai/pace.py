"""The time that a request to an endpoint has, from what the server has shown so far.

A completion that is streamed may take as long as it grows: it is given up after `idle` seconds
without new content. A request whose completion has not begun waits as long as the server sends
content to others, since it may be queued behind them. Once a request that was sent later has begun
before it, it has a few times what the slowest recent completion took, and is then lost. A server
that does not stream shows nothing before the end: there the time follows from the token limit and
the slowest of its recent completions.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

SLACK = 4.0
"""A completion whose growth is not seen may take so many times what the slowest recent one took."""
UNMEASURED = 0.1
"""Seconds a token, before a server that does not stream has completed anything."""
_RECENT = 64  # completions
_LOOK = 0.25  # seconds between two looks at the clock while nothing arrives


class ServerPace:
    """The record of what all requests to one server have shown. Thread-safe."""

    def __init__(self, idle: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.idle, self.clock = idle, clock
        self.lock = threading.Lock()
        self.streams: bool | None = None  # None: not known yet
        self.grew = float("-inf")
        self.waiting: set[RequestClock] = set()
        self._rates: deque[float] = deque(maxlen=_RECENT)
        self.durations: deque[float] = deque(maxlen=_RECENT)

    def send(self, max_tokens: int) -> "RequestClock":
        """The clock of a request that is sent now."""
        return RequestClock(self, max_tokens)

    def measured(self, seconds: float, tokens: int) -> None:
        """Learn from a completion that was not streamed."""
        if tokens > 0:
            self._rates.append(seconds / tokens)

    def seconds_for(self, tokens: int) -> float:
        """The time of so many tokens where nothing is seen of them before the end."""
        return tokens * (SLACK * max(self._rates) if self._rates else UNMEASURED)


class RequestClock:
    """The time of one request."""

    def __init__(self, server: ServerPace, max_tokens: int) -> None:
        self._server, self._tokens = server, max_tokens
        self._sent = server.clock()
        self._grew: float | None = None  # None: nothing of the completion has arrived
        self._overtaken: float | None = None
        with server.lock:
            server.waiting.add(self)

    def arriving(self, streamed: bool) -> None:
        """The first bytes have arrived, and show whether the server streams."""
        self._server.streams = streamed

    def growing(self) -> None:
        """New content has arrived."""
        server = self._server
        with server.lock:
            now = server.grew = server.clock()
            if self._grew is None:
                server.waiting.discard(self)
                for other in server.waiting:
                    if other._sent < self._sent and other._overtaken is None:
                        other._overtaken = now
            self._grew = now

    def arrived_whole(self, tokens: int) -> None:
        """The completion has arrived at once."""
        server = self._server
        with server.lock:
            server.grew = server.clock()
            server.measured(server.grew - self._sent, tokens)

    def ended(self) -> None:
        """The completion, which was streamed, is there."""
        server = self._server
        with server.lock:
            server.durations.append(server.clock() - self._sent)

    def close(self) -> None:
        """The request has ended, however it did."""
        with self._server.lock:
            self._server.waiting.discard(self)

    def expired(self) -> bool:
        """True where the request has had its time."""
        server = self._server
        with server.lock:
            now = server.clock()
            if self._grew is not None:
                return now - self._grew > server.idle
            if server.streams is False:
                return now - self._sent > server.idle + server.seconds_for(self._tokens)
            if self._overtaken is None:
                return now - max(self._sent, server.grew) > server.idle
            slowest = max(server.durations, default=0.0)
            return now - self._overtaken > server.idle + SLACK * slowest


class _Reading(threading.local):
    clock: RequestClock | None = None


_reading = _Reading()


@contextmanager
def reading(clock: RequestClock) -> Iterator[None]:
    """Let the reads of this thread last until the clock has expired."""
    _reading.clock = clock
    try:
        yield
    finally:
        _reading.clock = None
        clock.close()


def watch_reads(client: Any) -> bool:
    """Make an HTTP client's reads look at the clock of `reading`; False where it has no place.

    The client's own time-out is one number for each read, fixed when the request is sent. Whether a
    silent request is queued or lost shows only later. So the stream below the client reads in short
    steps, and decides after each; elsewhere the client's number cuts off silences. Written against
    what httpx and httpx2 have in common.
    """
    transports = [client._transport, *(t for t in client._mounts.values() if t is not None)]
    try:
        backends = [transport._pool._network_backend for transport in transports]
    except AttributeError:
        return False
    for transport, backend in zip(transports, backends, strict=True):
        transport._pool._network_backend = _WatchedBackend(backend)
    return True


class _WatchedBackend:
    """A network backend whose TCP streams are watched; everything else is the inner one's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def connect_tcp(self, *given: Any, **named: Any) -> "_WatchedStream":
        return _WatchedStream(self._inner.connect_tcp(*given, **named))


class _WatchedStream:
    """A stream that reads in steps for as long as the thread's clock has time."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        clock = _reading.clock
        while clock is not None:
            try:
                return cast(bytes, self._inner.read(max_bytes, _LOOK))
            except Exception as error:
                # By name: the class is httpcore's or httpcore2's.
                if type(error).__name__ != "ReadTimeout" or clock.expired():
                    raise
        return cast(bytes, self._inner.read(max_bytes, timeout))

    def start_tls(self, *given: Any, **named: Any) -> "_WatchedStream":
        return _WatchedStream(self._inner.start_tls(*given, **named))
