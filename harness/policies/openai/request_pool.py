"""Daemon threads that send requests, so that they do not keep the process from ending.

Python joins the threads of `concurrent.futures` at exit: a run that was told to stop would wait for
every completion under way.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType

from harness.policies.base import Request
from harness.types import Completion

Result = tuple[Request, Completion | Exception]


class RequestPool:
    """Up to `size` threads, each started when it is first needed.

    Leaving the `with` block calls `abandon`, which wakes sleeping threads, and lets the threads end
    in their own time.
    """

    def __init__(
        self, size: int, work: Callable[[Request], Completion], abandon: Callable[[], None]
    ) -> None:
        self.busy = 0
        self._size, self._work, self._abandon = size, work, abandon
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        self._results: SimpleQueue[Result] = SimpleQueue()
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
            # One for each thread: the thread that takes it ends.
            self._requests.put(None)

    def submit(self, request: Request) -> None:
        """Start a request."""
        self.busy += 1
        if self.busy > self._threads:
            self._threads += 1
            threading.Thread(target=self._serve, name="endpoint", daemon=True).start()
        self._requests.put(request)

    def next_result(self) -> Result:
        """Wait for the next finished request."""
        result = self._results.get()
        self.busy -= 1
        return result

    def _serve(self) -> None:
        while (request := self._requests.get()) is not None:
            try:
                self._results.put((request, self._work(request)))
            # Handed over: raised here, it would end the thread, and the reader would wait on.
            except Exception as error:
                self._results.put((request, error))
