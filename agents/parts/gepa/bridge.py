"""A bridge between two threads that take turns: an optimizer that requests, the loop that answers.

One of them always waits, so nothing runs concurrently. The optimizer keeps its own control flow,
while every episode and reflection is made by the training loop, in its thread and on its meter.
"""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


class Stopped(BaseException):
    """The loop has ended. No Exception, so that the optimizer's `except Exception` lets it pass."""


class ThreadBridge(Generic[RequestT, AnswerT]):
    """Requests one way, answers the other."""

    def __init__(self) -> None:
        self._requests: SimpleQueue[RequestT | BaseException] = SimpleQueue()
        self._answers: SimpleQueue[tuple[AnswerT, ...]] = SimpleQueue()  # empty: stop

    def start(self, optimizer: Callable[[], object]) -> None:
        """Run the optimizer in a daemon thread, until the process ends or `stop` is called."""

        def run() -> None:
            try:
                optimizer()
                ended: BaseException = RuntimeError(
                    "The optimizer ended before the budget was spent."
                )
            except Stopped:
                return
            except BaseException as error:  # raised again in the loop's thread, by `next`
                ended = error
            self._requests.put(ended)

        Thread(target=run, name="optimizer", daemon=True).start()

    def request(self, request: RequestT) -> AnswerT:
        """Send a request and wait for its answer; called by the optimizer."""
        self._requests.put(request)
        answer = self._answers.get()
        if not answer:
            raise Stopped
        return answer[0]

    def next(self) -> RequestT:
        """The optimizer's next request, or the exception it ended with; called by the loop."""
        request = self._requests.get()
        if isinstance(request, BaseException):
            raise request
        return request

    def answer(self, answer: AnswerT) -> None:
        """Answer the last request; called by the loop."""
        self._answers.put((answer,))

    def stop(self) -> None:
        """End the optimizer at its next request."""
        self._answers.put(())
