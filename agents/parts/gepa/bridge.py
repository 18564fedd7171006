"""Two threads that take turns: an engine that asks, and the loop that answers.

One of them always waits, so nothing here is concurrent; the engine keeps its own control flow while
every episode and every reflection is made by the loop, in its thread and on its meter.
"""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


class Stopped(BaseException):
    """The loop is over; no engine's `except Exception` holds this up."""


class ThreadBridge(Generic[Ask, Answer]):
    """Questions one way, answers the other."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[Ask | BaseException] = SimpleQueue()
        self._answered: SimpleQueue[tuple[Answer, ...]] = SimpleQueue()

    def start(self, engine: Callable[[], object]) -> None:
        """Run the engine beside the loop. It ends with the process, or when it is stopped."""

        def run() -> None:
            try:
                engine()
                ended: BaseException = RuntimeError("The engine ended before the budget was spent.")
            except Stopped:
                return
            except BaseException as error:
                ended = error
            self._asked.put(ended)

        Thread(target=run, name="engine", daemon=True).start()

    def ask(self, question: Ask) -> Answer:
        """The engine's side: wait for the loop's answer."""
        self._asked.put(question)
        answer = self._answered.get()
        if not answer:
            raise Stopped
        return answer[0]

    def next(self) -> Ask:
        """The loop's side: what the engine asks next; what it failed of is raised here."""
        question = self._asked.get()
        if isinstance(question, BaseException):
            raise question
        return question

    def answer(self, answer: Answer) -> None:
        """The loop's side: let the engine go on."""
        self._answered.put((answer,))

    def stop(self) -> None:
        """Let the engine end at its next question."""
        self._answered.put(())
