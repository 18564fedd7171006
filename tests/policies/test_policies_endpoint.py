"""Endpoints are retried, counted and never trusted with silence. The server is a stand-in."""

import threading
import time
from collections import deque
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal

import pytest
from standin import Body, completion, served, streamed

from harness.errors import ModelError, UsageError
from harness.policies import open_policy, require_trainable
from harness.policies.base import Policy, Request, Sampling
from harness.policies.openai.address import parse_address
from harness.policies.openai.policy import EndpointPolicy
from harness.settings.model import ModelSettings
from harness.types import Completion, Finish, Message

FAST = ModelSettings(concurrency=4, timeout=5.0, retries=1, patience=0.0)
SECRET = "sk-very-secret-key"


def ask(id: int, grammar: str | None = None) -> Request:
    conversation = (Message("system", "s"), Message("user", f"question {id}"))
    sampling = Sampling(temperature=0.5, top_p=0.9, max_tokens=7)
    return Request(f"r{id}", conversation, sampling, seed=2**40 + id, grammar=grammar)


def unchecked(url: str, settings: ModelSettings = FAST) -> EndpointPolicy:
    return EndpointPolicy(url, parse_address(url), settings)


def always(body: Body, earlier: int) -> tuple[int, Body]:
    return 200, completion(f"to {body['messages'][-1]['content']}")


Served = AbstractContextManager[tuple[str, list[Body]]]


def test_every_request_is_answered_with_the_servers_token_count() -> None:
    with served(always) as (url, _):
        policy = open_policy(url, FAST)
        assert isinstance(policy, Policy)
        assert isinstance(policy, EndpointPolicy)
        found = dict(policy.generate(deque([ask(i) for i in range(9)])))
    assert found == {f"r{i}": Completion(f"to question {i}", Finish.STOP, 3) for i in range(9)}
    assert policy.failures == {}


def test_what_is_asked_for_is_sent() -> None:
    with served(always) as (url, seen):
        list(unchecked(url).generate(deque([ask(3, grammar="a+")])))
    (body,) = seen
    assert body["model"] == "m"
    assert body["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "question 3"},
    ]
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.5, 0.9, 7)
    assert body["seed"] == (2**40 + 3) % 2**31
    assert "structured_outputs" not in body


def test_a_grammar_is_sent_only_to_a_server_that_is_said_to_take_one() -> None:
    with served(always) as (url, seen):
        list(unchecked(url.replace("#", "?grammar=vllm#")).generate(deque([ask(1, grammar="a+")])))
    assert seen[0]["structured_outputs"] == {"regex": "a+"}


@pytest.mark.parametrize("thinking", ["on", "off"])
def test_the_switch_of_thinking_is_passed_to_the_servers_template(
    thinking: Literal["on", "off"],
) -> None:
    with served(always) as (url, seen):
        policy = open_policy(url.replace("#", "?grammar=vllm#"), replace(FAST, thinking=thinking))
        list(policy.generate(deque([ask(1, grammar="a+")])))
    on = thinking == "on"
    for body in seen:  # the first is the check, where a server that takes none would refuse
        assert body["chat_template_kwargs"] == {"enable_thinking": on, "thinking": on}
    assert seen[-1]["structured_outputs"] == {"regex": "a+"}


@pytest.mark.parametrize(
    ("text", "thought", "answer", "finished"),
    [
        ("6 · 7 is \\boxed{42}, or", "6 · 7 is \\boxed{42}, or", "", False),
        ("6 · 7</think>it is 4", "6 · 7", "it is 4", True),
        ("<think>6 · 7", "6 · 7", "", False),
    ],
)
def test_a_thought_that_the_servers_template_opened_is_no_answer_where_it_is_cut_off(
    text: str, thought: str, answer: str, finished: bool
) -> None:
    with served(lambda body, _: (200, completion(text, "length", 9))) as (url, _):
        policy = unchecked(url, replace(FAST, thinking="on"))
        ((_, said),) = policy.generate(deque([ask(1)]))
        ((_, plain),) = unchecked(url).generate(deque([ask(1)]))
    assert (said.thought, said.answer, said.thought_finished) == (thought, answer, finished)
    assert plain.text == text  # where nothing was asked for, nothing is assumed


def test_by_default_nothing_is_said_of_thinking() -> None:
    with served(always) as (url, seen):
        list(open_policy(url, FAST).generate(deque([ask(1)])))
    assert not any("chat_template_kwargs" in body for body in seen)


def test_a_reply_cut_off_says_so() -> None:
    with served(lambda body, earlier: (200, completion("cut", "length", 7))) as (url, _):
        ((_, reply),) = unchecked(url).generate(deque([ask(0)]))
    assert (reply.finish, reply.sampled) == (Finish.LENGTH, 7)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    def busy_once(body: Body, earlier: int) -> tuple[int, Body]:
        return (status, {"error": "busy"}) if earlier == 0 else (200, completion())

    with served(busy_once) as (url, seen):
        policy = unchecked(url)
        found = dict(policy.generate(deque([ask(0)])))
    assert len(seen) == 2
    assert found["r0"].text == "hello"
    assert policy.failures == {}


def test_a_request_that_fails_for_good_is_recorded_and_the_others_are_answered() -> None:
    def one_is_broken(body: Body, earlier: int) -> tuple[int, Body]:
        broken = "question 2" in body["messages"][-1]["content"]
        return (500, {"error": {"message": "out of memory"}}) if broken else (200, completion())

    with served(one_is_broken) as (url, seen):
        policy = unchecked(url)
        found = dict(policy.generate(deque([ask(i) for i in range(5)])))
    assert sorted(found) == ["r0", "r1", "r3", "r4"]
    assert list(policy.failures) == ["r2"]
    assert "out of memory" in policy.failures["r2"]
    asked = [b["messages"][-1]["content"] for b in seen]
    assert asked.count("question 2") == 2  # one retry
    assert len(seen) - asked.count("Hello") == 4 + 2


def test_a_request_that_takes_too_long_is_recorded() -> None:
    def slow(body: Body, earlier: int) -> tuple[int, Body]:
        if "question" in body["messages"][-1]["content"]:
            time.sleep(1.5)
        return 200, completion()

    with served(slow) as (url, _):
        policy = unchecked(url, ModelSettings(timeout=0.5, retries=0))
        assert list(policy.generate(deque([ask(0)]))) == []
    assert "Timeout" in policy.failures["r0"]


def test_no_more_requests_run_at_once_than_allowed() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def counting(body: Body, earlier: int) -> tuple[int, Body]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.03)
        with lock:
            running -= 1
        return 200, completion()

    with served(counting) as (url, _):
        policy = unchecked(url, ModelSettings(concurrency=3, retries=0))
        assert len(list(policy.generate(deque([ask(i) for i in range(12)])))) == 12
    assert most == 3


def test_requests_appended_between_replies_are_answered_too() -> None:
    with served(always) as (url, _):
        waiting = deque([ask(0)])
        seen = []
        for id, _reply in unchecked(url).generate(waiting):
            seen.append(id)
            if len(seen) < 4:
                waiting.append(ask(len(seen)))
    assert seen == ["r0", "r1", "r2", "r3"]


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)

    def telling(body: Body, earlier: int) -> tuple[int, Body]:
        if earlier == 1:  # whether it answers anybody at all
            return 200, completion()
        return 400, {"error": {"message": f"bad request with {body['authorization']}"}}

    with served(telling) as (url, seen):
        policy = unchecked(url)
        list(policy.generate(deque([ask(0)])))
        with pytest.raises(ModelError) as refused:
            policy.check()
    assert seen[0]["authorization"] == f"Bearer {SECRET}"
    assert SECRET not in policy.failures["r0"] + str(refused.value) + repr(refused.value.__cause__)
    assert "[secret]" in policy.failures["r0"]


@pytest.mark.parametrize("key", ["x", "none", "test", SECRET])
def test_the_models_words_are_kept_as_said_whatever_the_key_is(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    said = f"\\boxed{{25}} is the max; none of the test values is {key}"
    with served(lambda body, earlier: (200, completion(said))) as (url, _):
        ((_, reply),) = unchecked(url).generate(deque([ask(0)]))
    assert reply.text == said


def test_a_local_server_needs_no_key_and_a_remote_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with served(always) as (url, seen):
        open_policy(url, FAST)
    assert seen[0]["authorization"] == "Bearer none"
    with pytest.raises(ModelError, match="set the environment variable OPENAI_API_KEY"):
        open_policy("openai:http://models.invalid/v1#m", FAST)


def test_opening_refuses_a_wrong_key() -> None:
    with (
        served(lambda body, earlier: (401, {"error": "no"})) as (url, _),
        pytest.raises(ModelError, match="refused the key"),
    ):
        open_policy(url, FAST)


def test_opening_refuses_a_server_that_is_not_there() -> None:
    with served(always) as (url, _):
        pass
    with pytest.raises(ModelError, match="cannot be reached"):
        open_policy(url, ModelSettings(retries=0))


def test_opening_an_unknown_model_lists_what_is_served() -> None:
    with (
        served(lambda body, earlier: (404, {"error": "no"})) as (url, _),
        pytest.raises(UsageError, match=r"no model 'n'.*Known: m\."),
    ):
        open_policy(url.replace("#m", "#n"), FAST)


def test_an_address_without_chat_completions_is_refused() -> None:
    with (
        served(always) as (url, _),
        pytest.raises(ModelError, match=r"no chat completions.*ends in /v1"),
    ):
        open_policy(url.replace("/v1", "/nothing"), FAST)


def test_a_reply_that_is_no_completion_is_recorded() -> None:
    def odd(body: Body, earlier: int) -> tuple[int, Any]:
        wanted = "question" in body["messages"][-1]["content"]
        return (200, "<html>") if wanted else (200, completion())

    with served(odd) as (url, seen):
        policy = unchecked(url)
        assert list(policy.generate(deque([ask(0)]))) == []
    assert "no chat completion" in policy.failures["r0"]
    assert len(seen) == 3  # it was asked again, and then whether it answers at all


def test_a_server_that_counts_no_tokens_is_refused() -> None:
    with (
        served(lambda body, earlier: (200, completion(tokens=None))) as (url, _),
        pytest.raises(ModelError, match="no 'usage'"),
    ):
        open_policy(url, FAST)


def test_logprobs_stand_in_for_a_missing_count() -> None:
    def with_logprobs(body: Body, earlier: int) -> tuple[int, Body]:
        answer = completion(tokens=None)
        token = {"token": "a", "logprob": -0.1, "bytes": None, "top_logprobs": []}
        answer["choices"][0]["logprobs"] = {"content": [token, token]}
        return 200, answer

    with served(with_logprobs) as (url, _):
        ((_, reply),) = unchecked(url).generate(deque([ask(0)]))
    assert reply.sampled == 2


def test_weight_training_is_refused_at_an_endpoint() -> None:
    with (
        served(always) as (url, _),
        pytest.raises(ModelError, match="cannot be trained from here"),
    ):
        require_trainable(open_policy(url, FAST))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("openai:localhost:8000#m", "write openai:http://host/v1#model"),
        ("openai:http://localhost/v1", "write openai:http://host/v1#model"),
        ("openai:http://me:pw@localhost/v1#m", "OPENAI_API_KEY"),
        ("openai:http://localhost/v1?grammer=vllm#m", "Did you mean 'grammar'"),
        ("openai:http://localhost/v1?grammar=none#m", "Known: vllm"),
    ],
)
def test_an_address_that_is_not_understood_is_refused(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        open_policy(url)
    assert "pw" not in str(refused.value)


def test_a_server_that_streams_unasked_and_counts_nothing_is_refused_once() -> None:
    def answer(body: Body, earlier: int) -> tuple[int, Any]:
        return 200, streamed(completion("four", tokens=None))

    with served(answer) as (url, seen), pytest.raises(ModelError, match="no 'usage'"):
        list(unchecked(url).generate(deque([ask(1)])))
    assert [bool(body.get("stream")) for body in seen] == [True, False]
