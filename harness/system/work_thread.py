"""A thread for calls of other packages that may hang: its caller waits so long, and goes on."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from threading import Thread, current_thread, local
from typing import Any, TypeVar, cast

T = TypeVar("T")
_here = local()


class Hangs(Exception):
    """A call did not return in time; the thread makes no other."""


class WorkThread:
    """Makes calls one after the other in a thread of its own, which does not keep Python alive."""

    def __init__(self) -> None:
        self.hangs = False
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._thread: Thread | None = None

    @staticmethod
    def current() -> "WorkThread | None":
        """The one in whose thread this is asked."""
        return cast("WorkThread | None", vars(_here).get("thread"))

    def call(self, work: Callable[[], T], seconds: float) -> T:
        """The result of `work`; from within the thread itself it is called directly.

        Raises:
            Hangs: It took longer, now or at an earlier call.
        """
        if self._thread is current_thread():
            return work()
        if self.hangs:
            raise Hangs
        if self._thread is None:
            self._thread = Thread(target=self._serve, daemon=True)
            self._thread.start()
        answer: Future[T] = Future()
        self._calls.put((work, answer))
        # Until the answer is there, also where an interrupt ends the wait.
        self.hangs = True
        if not wait([answer], seconds).done:
            raise Hangs
        self.hangs = False
        return answer.result()

    def _serve(self) -> None:
        _here.thread = self
        while True:
            work, answer = self._calls.get()
            try:
                answer.set_result(work())
            except BaseException as error:
                answer.set_exception(error)
