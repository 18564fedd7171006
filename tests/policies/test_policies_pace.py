"""The time that completions have: whatever still grows is neither lost nor asked for again."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from standin import Body, completion, event, served, streamed

from harness.arena import Arena
from harness.budget import BudgetPlan, Shape
from harness.callbacks import Callback
from harness.errors import ModelError
from harness.metered import Meter, Metered, metered
from harness.policies.base import Request, Sampling
from harness.policies.openai.address import parse_address
from harness.policies.openai.pace import ServerPace
from harness.policies.openai.policy import EndpointPolicy
from harness.round_data import Rollouts
from harness.seeds import Seeds
from harness.settings.model import ModelSettings
from harness.storage.round_journal import RoundJournal
from harness.types import Assignment, Ending, Message, SystemPrompt


def ask(count: int, tokens: int = 50) -> deque[Request]:
    return deque(
        Request(f"r{n}", (Message("user", f"question {n}"),), Sampling(max_tokens=tokens), n)
        for n in range(count)
    )


def opened(url: str, **settings: Any) -> EndpointPolicy:
    given = {"concurrency": 16, "timeout": 2.0, "retries": 2, "patience": 0.0, **settings}
    return EndpointPolicy(url, parse_address(url), ModelSettings(**given))


def questions(seen: list[Body]) -> list[str]:
    """What was asked, without probes of whether the server is there."""
    words = [body["messages"][-1]["content"] for body in seen]
    return [word for word in words if word.startswith("question")]


def slowly(whole: Body, seconds: float) -> Iterator[bytes]:
    """A stream that takes so long, evenly."""
    events = list(streamed(whole))
    for one in events:
        time.sleep(seconds / len(events))
        yield one


def test_slow_replies_that_grow_are_neither_lost_nor_asked_for_again() -> None:
    def half_slow(body: Body, earlier: int) -> tuple[int, Any]:
        made = completion("a slow reply", tokens=3)
        slow = body.get("seed", 0) % 2
        return 200, slowly(made, 4.0) if slow else streamed(made)

    with served(half_slow) as (url, seen):
        policy = opened(url)  # less time between two tokens than a slow reply takes
        found = dict(policy.generate(ask(16)))
    assert len(found) == 16 and policy.failures == {}
    assert sorted(questions(seen)) == sorted(f"question {n}" for n in range(16))


def test_slow_replies_that_come_whole_have_the_time_of_their_tokens() -> None:
    def half_slow(body: Body, earlier: int) -> tuple[int, Any]:
        if body.get("seed", 0) % 2:
            time.sleep(2.0)
        return 200, completion("a slow reply", tokens=3)

    with served(half_slow) as (url, seen):
        policy = opened(url, timeout=1.0)
        policy.check()  # which shows that this server does not stream
        found = dict(policy.generate(ask(16, tokens=8000)))
    assert len(found) == 16 and policy.failures == {}
    assert len(questions(seen)) == 16


def test_a_stream_that_stops_growing_is_given_up_however_it_stays_alive() -> None:
    def pinging(body: Body, earlier: int) -> tuple[int, Any]:
        if body.get("seed") != 1:
            return 200, streamed(completion("fine"))

        def stream() -> Iterator[bytes]:
            yield event({"choices": [{"index": 0, "delta": {"content": "a"}}]})
            for _ in range(400):
                time.sleep(0.05)
                yield b": still here\n\n"

        return 200, stream()

    with served(pinging) as (url, _):
        policy, began = opened(url, retries=0, timeout=2.0), time.monotonic()
        assert sorted(dict(policy.generate(ask(3)))) == ["r0", "r2"]
        assert time.monotonic() - began < 10.0
    assert "APITimeoutError" in policy.failures["r1"]


def test_a_silent_server_is_given_up_after_the_idle_time() -> None:
    gone = threading.Event()

    def silent(body: Body, earlier: int) -> tuple[int, Any]:
        gone.wait(20)
        return 200, completion()

    with served(silent) as (url, _):
        policy, began = opened(url, retries=0, timeout=0.5), time.monotonic()
        with pytest.raises(ModelError, match="answered nobody"):
            list(policy.generate(ask(1)))
        assert time.monotonic() - began < 10.0
        gone.set()


def test_requests_in_the_servers_queue_wait_while_it_works_on_others() -> None:
    one = threading.Lock()

    def in_turn(body: Body, earlier: int) -> tuple[int, Any]:
        def stream() -> Iterator[bytes]:
            with one:
                yield from slowly(completion("a reply of its own"), 0.6)

        return 200, stream()

    with served(in_turn) as (url, seen):
        policy = opened(url)  # the last one waits twice as long as a silence may last
        found = dict(policy.generate(ask(8)))
    assert len(found) == 8 and policy.failures == {}
    assert len(questions(seen)) == 8


@pytest.mark.parametrize(
    "words",
    [
        "Streaming is not supported by this model",
        "Unknown parameter: 'stream_options'.",
        "stream: extra fields not permitted",
    ],
)
def test_a_server_that_refuses_streams_is_asked_for_whole_replies(words: str) -> None:
    def refusing(body: Body, earlier: int) -> tuple[int, Any]:
        if "stream" in body:
            return 400, {"error": {"message": words}}
        return 200, completion("whole")

    with served(refusing) as (url, seen):
        policy = opened(url)
        policy.check()
        assert {c.text for _, c in policy.generate(ask(4))} == {"whole"}
    assert sum("stream" in body for body in seen) == 1
    assert sum("does not stream" in note for note in policy.notes) == 1


def test_a_server_that_counts_only_whole_replies_is_asked_for_these() -> None:
    def uncounted(body: Body, earlier: int) -> tuple[int, Any]:
        assert body.get("stream_options") == ({"include_usage": True} if "stream" in body else None)
        if body.get("stream"):
            return 200, streamed(completion("streamed", tokens=None))
        return 200, completion("whole")

    with served(uncounted) as (url, seen):
        policy = opened(url)
        policy.check()
        assert {c.text for _, c in policy.generate(ask(4))} == {"whole"}
    assert sum("stream" in body for body in seen) == 1


class TestPace:
    """The clock alone, without a server."""

    def pace(self) -> tuple[ServerPace, list[float]]:
        now = [0.0]
        return ServerPace(10.0, lambda: now[0]), now

    def test_what_grows_has_time_without_end(self) -> None:
        pace, now = self.pace()
        clock = pace.send(100)
        for _ in range(100):
            now[0] += 9.0
            clock.growing()
            assert not clock.expired()
        now[0] += 10.5
        assert clock.expired()

    def test_what_waits_is_lost_when_later_requests_have_begun(self) -> None:
        pace, now = self.pace()
        lost, now[0] = pace.send(100), 1.0
        later = pace.send(100)
        for _ in range(5):
            now[0] += 4.0
            later.growing()
        assert now[0] == 21.0 and lost.expired()

    def test_what_waits_behind_others_is_not_lost(self) -> None:
        pace, now = self.pace()
        first, now[0] = pace.send(100), 1.0
        queued = pace.send(100)
        for _ in range(50):
            now[0] += 4.0
            first.growing()
            assert not queued.expired()
        now[0] += 10.5
        assert queued.expired()

    def test_a_server_that_does_not_stream_has_the_time_of_its_slowest_reply(self) -> None:
        pace, now = self.pace()
        pace.streams = False
        clock = pace.send(1000)
        now[0] = 10.0 + 99.0
        assert not clock.expired()  # 0.1 s a token before anything is known
        fast, slow = pace.send(1000), pace.send(1000)
        now[0] += 1.0
        fast.arrived_whole(1000)
        now[0] += 9.0
        slow.arrived_whole(1000)
        clock = pace.send(1000)
        now[0] += 10.0 + 39.0
        assert not clock.expired()
        now[0] += 2.0
        assert clock.expired()


class Numbers(gymnasium.Env[str, str]):
    """One turn; any reply is right."""

    observation_space = action_space = gymnasium.spaces.Text(100)
    system_prompt = "Reply."

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        return f"question {seed}", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "", 1.0, True, False, {"success": True}

    def size(self, split: str) -> int:
        return 8


def test_a_round_whose_only_failures_are_time_outs_stops_and_can_go_on(tmp_path: Path) -> None:
    slow = True
    done = threading.Event()

    def stuck(body: Body, earlier: int) -> tuple[int, Any]:
        if slow and body["messages"][-1]["content"] == "question 3":
            done.wait(20)
        return 200, streamed(completion("fine"))

    def rollout(url: str) -> tuple[Rollouts, Metered]:
        policy = metered(opened(url, retries=0, timeout=3.0), Meter(Callback()), False)
        policy.meter.journal = RoundJournal(tmp_path / "unfinished_round.jsonl")
        plan = BudgetPlan(Shape(8, 1, 2), 1, 0)
        make: Any = lambda split: Numbers()  # noqa: E731
        arena = Arena(make, 8, policy, plan, Sampling(), Seeds(0))
        round = next(arena.rounds())
        groups = [Assignment(SystemPrompt("Reply."), task, 2) for task in round.tasks]
        try:
            return arena.rollout(groups), policy
        finally:
            policy.meter.journal.close()
            arena.close()

    with served(stuck) as (url, seen):
        with pytest.raises(
            ModelError, match=r"2 of 16 completions .* --set model\.timeout=SECONDS"
        ):
            rollout(url)
        done.set()
        slow, before = False, len(questions(seen))
        rollouts, policy = rollout(url)
    assert [e.ending for e in rollouts] == [Ending.TERMINATED] * 16
    assert questions(seen)[before:] == ["question 3"] * 2
    assert policy.meter.spent.episodes == 16
    assert policy.meter.spent.acting_tokens == 16 * 3


def test_tokens_are_counted_as_they_are_streamed() -> None:
    half, go_on = threading.Event(), threading.Event()

    def pausing(body: Body, earlier: int) -> tuple[int, Any]:
        def stream() -> Iterator[bytes]:
            for n in range(10):
                if n == 5:
                    half.set()
                    go_on.wait(20)
                yield event({"choices": [{"index": 0, "delta": {"content": "a"}}]})
            yield from streamed(completion("a"))

        return 200, stream()

    with served(pausing) as (url, _):
        policy = opened(url, timeout=20.0)
        found: list[object] = []
        asking = threading.Thread(target=lambda: found.extend(policy.generate(ask(1))))
        asking.start()
        assert half.wait(20)
        until = time.monotonic() + 20
        while policy.unfinished_tokens < 5 and time.monotonic() < until:
            time.sleep(0.01)
        assert policy.unfinished_tokens == 5
        go_on.set()
        asking.join(20)
    assert len(found) == 1 and policy.unfinished_tokens == 0
