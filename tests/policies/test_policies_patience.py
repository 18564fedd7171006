"""A server that is busy, away, or slow on purpose; the real client talks to a loopback server."""

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.soak._server import Body, Manners, served
from harness.errors import ModelError
from harness.policies.base import Request, Sampling
from harness.policies.openai.address import parse_address
from harness.policies.openai.policy import EndpointPolicy
from harness.policies.openai.response import MalformedResponse, read_completion
from harness.policies.openai.retry import RetryPolicy
from harness.settings.model import ModelSettings
from harness.types import Message


def policy(url: str, **settings: float) -> EndpointPolicy:
    given: dict[str, object] = {"concurrency": 4, "timeout": 5.0, "retries": 0, **settings}
    return EndpointPolicy(url, parse_address(url), ModelSettings(**given))


def ask(count: int) -> deque[Request]:
    sampling = Sampling(max_tokens=7)
    return deque(
        Request(f"r{n}", (Message("user", f"question {n}"),), sampling, seed=n)
        for n in range(count)
    )


def said(body: Body) -> str:
    return f"to {body['messages'][-1]['content']}"


def test_an_endpoint_that_dies_half_way_stops_the_run_and_leaves_nothing_unscored() -> None:
    with served(said) as (url, server):
        one, found = policy(url, concurrency=1, patience=0.3), []
        with pytest.raises(ModelError, match=r"answered nobody for 0\.3 s .* harness resume"):
            for id, _ in one.generate(ask(6)):
                found.append(id)
                server.away = len(found) == 3
    assert found == ["r0", "r1", "r2"]
    assert one.failures == {}


def test_an_endpoint_that_comes_back_in_time_is_waited_for() -> None:
    with served(said) as (url, server):
        server.away = True
        threading.Timer(1.0, lambda: setattr(server, "away", False)).start()
        one = policy(url, patience=30)
        assert len(dict(one.generate(ask(8)))) == 8
    assert one.failures == {}


def test_nobody_asks_a_server_that_wants_to_be_left_alone() -> None:
    def busy(body: Body, times: int) -> str:
        return "429" if times == 1 and body.get("seed", 0) % 5 == 0 else ""

    with served(said, busy) as (url, server):
        one = policy(url, concurrency=8)  # no retries: saying when is no failure
        manners = Manners(one)
        assert len(dict(one.generate(ask(40)))) == 40
    assert server.committed["429"] == 8
    assert (manners.heard, manners.early) == (8, 0)


def test_who_disregards_it_is_seen() -> None:
    def busy(body: Body, times: int) -> str:
        return "429" if body.get("seed", 0) == 0 else ""

    with served(said, busy) as (url, _):
        one = policy(url, concurrency=1)
        manners = Manners(one)
        with pytest.raises(Exception, match="busy"):
            one._answer(ask(1)[0])
        time.sleep(0.2)
        one._answer(ask(2)[1])
    assert (manners.heard, manners.early) == (1, 1)


def test_a_server_that_is_busy_for_ever_stops_the_run() -> None:
    with (
        served(said, lambda body, times: "429") as (url, _),
        pytest.raises(ModelError, match="429"),
    ):
        list(policy(url, patience=0.5).generate(ask(3)))


def test_a_reply_that_drips_has_no_more_time_than_any_other() -> None:
    def drip(body: Body, times: int) -> str:
        return "drip" if body.get("seed") == 1 else ""

    with served(said, drip) as (url, _):
        one, began = policy(url, timeout=0.5), time.monotonic()
        assert sorted(dict(one.generate(ask(3)))) == ["r0", "r2"]
        assert time.monotonic() - began < 15.0
    assert "APITimeoutError" in one.failures["r1"]


def test_a_reply_cut_short_or_garbled_is_asked_for_again() -> None:
    def first(body: Body, times: int) -> str:
        return ("cut", "wrong")[body.get("seed", 0) % 2] if times == 1 else ""

    with served(said, first) as (url, _):
        one = policy(url, retries=1)
        found = dict(one.generate(ask(20)))
    assert {id: c.text for id, c in found.items()} == {
        f"r{n}": f"to question {n}" for n in range(20)
    }


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices": [{"message": {"content": 4}}], "usage": {"completion_tokens": 1}}',
        b'{"choices": [{"message": {"content": "4"}}], "usage": {"completion_tokens": -1}}',
        b'{"choices": [{"message": {"content": "4"}}], "usage": {"completion_tokens": true}}',
        b'{"choices": [{"message": {"content": "4"}}], "usage": {"completion_tokens": 1e3}}',
        b'{"choices": [{"text": "4"}], "usage": {"completion_tokens": 1}}',
        b'{"choices": ["4"], "usage": {"completion_tokens": 1}}',
        b'{"choices": {"0": 1}}',
        b"[" * 100_000,
        b"4",
    ],
)
def test_nothing_in_a_reply_is_coerced(data: bytes) -> None:
    with pytest.raises(MalformedResponse):
        read_completion(data)


def test_the_question_whether_a_server_is_there_waits_as_well() -> None:
    """One request is told to wait; another fails for good, and nobody was answered since."""
    asked: list[float] = []
    held, heard = threading.Event(), time.monotonic

    class Busy(Exception):
        pass

    def probe() -> None:
        asked.append(heard())

    patience = RetryPolicy(
        0, 30.0, lambda e: False, lambda e: 0.6 if isinstance(e, Busy) else None, probe
    )

    def waits() -> str:
        if not held.is_set():
            held.set()
            raise Busy
        return "there"

    def fails() -> str:
        assert held.wait(5)
        time.sleep(0.1)
        raise ValueError("for good")

    told: list[float] = []
    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(patience.call, fails, 0)
        told.append(heard())
        assert pool.submit(patience.call, waits, 0).result() == "there"
        with pytest.raises(ValueError, match="for good"):
            failing.result()
    assert all(when - told[0] >= 0.55 for when in asked)
    assert asked
