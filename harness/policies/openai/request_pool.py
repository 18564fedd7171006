"""Threads that ask while others wait, and that keep no process from ending.

Those of `concurrent.futures` are joined when Python exits: a run that was told to stop now would
wait for every reply under way. These are daemons.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType

from harness.policies.base import Request
from harness.types import Completion

Came = tuple[Request, Completion | Exception]


class RequestPool:
    """Up to `size` threads; each is started when it is first needed.

    Leaving the `with` block calls `abandon`, so that whoever sleeps wakes, and lets the threads end
    in their own time.
    """

    def __init__(
        self, size: int, work: Callable[[Request], Completion], abandon: Callable[[], None]
    ) -> None:
        self.busy = 0
        self._size, self._work, self._abandon = size, work, abandon
        self._jobs: SimpleQueue[Request | None] = SimpleQueue()
        self._came: SimpleQueue[Came] = SimpleQueue()
        self._threads = 0

    def __enter__(self) -> "RequestPool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.busy:
            self._abandon()
        for _ in range(self._threads):
            self._jobs.put(None)

    def give(self, request: Request) -> None:
        """Begin on a request."""
        self.busy += 1
        if self.busy > self._threads:
            self._threads += 1
            threading.Thread(target=self._serve, name="endpoint", daemon=True).start()
        self._jobs.put(request)

    def take(self) -> Came:
        """Wait for the next request that is done with."""
        came = self._came.get()
        self.busy -= 1
        return came

    def _serve(self) -> None:
        while (request := self._jobs.get()) is not None:
            try:
                self._came.put((request, self._work(request)))
            except Exception as error:
                self._came.put((request, error))
