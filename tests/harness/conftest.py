"""A world and policies small enough to check by hand."""

import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from looking import Clock
from rich.console import Console

from harness.callbacks import Callback
from harness.display import console as views
from harness.display.console import LiveView
from harness.metered import Meter, Metered
from harness.policies.base import Request
from harness.types import Completion, Finish, Split


class EchoWorld:
    """Wants the task's number back; "crash" and "unscored" provoke failures; odd: two turns."""

    system_prompt = "Say the number."

    def __init__(self, split: Split) -> None:
        self.split = split
        self.task, self.turn = 0, 0

    def size(self, split: Split) -> int:
        return 10

    def fingerprint(self) -> str:
        return "echo"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, Mapping[str, Any]]:
        self.task, self.turn = seed or 0, 0
        return f"number {self.task}", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, Mapping[str, Any]]:
        if action == "crash":
            raise ZeroDivisionError("the world broke")
        if action == "unscored":
            return "", 0.0, True, False, {"outcome": "unscored", "feedback": "the grader hung"}
        self.turn += 1
        right = action == str(self.task)
        done = self.task % 2 == 0 or self.turn == 2
        info = {"outcome": "scored", "success": right, "feedback": "right" if right else "wrong"}
        return "again", float(right), done, False, info

    def oracle(self) -> str:
        return str(self.task)

    def close(self) -> None:
        pass


class TalkingPolicy:
    """Replies what a function says; one token a reply; unanswered where it says None."""

    name, version, context = "talking", 0, None

    def __init__(
        self, reply: Callable[[Request], str | None], finish: Finish = Finish.STOP
    ) -> None:
        self.reply, self.finish = reply, finish
        self.failures: dict[str, str] = {}
        self.seen: list[Request] = []

    def generate(self, waiting: deque[Request]) -> Iterator[tuple[str, Completion]]:
        while waiting:
            request = waiting.popleft()
            self.seen.append(request)
            text = self.reply(request)
            if text is None:
                self.failures[request.id] = "the server was gone"
                continue
            yield request.id, Completion(text, self.finish, 1)


@pytest.fixture
def echo() -> type[EchoWorld]:
    return EchoWorld


@pytest.fixture
def talk() -> Callable[..., Metered]:
    def make(reply: Callable[[Request], str | None], finish: Finish = Finish.STOP) -> Metered:
        return Metered(TalkingPolicy(reply, finish), Meter(Callback()))

    return make


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(views, "time", clock)
    return clock


@pytest.fixture
def live():
    opened = []

    def make(rounds=12, width=80):
        view = LiveView(Console(file=io.StringIO(), width=width, height=24), "a · b", rounds)
        opened.append(view)
        return view

    yield make
    for view in opened:
        view.close()
