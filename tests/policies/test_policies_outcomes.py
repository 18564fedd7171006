"""What an endpoint may say instead of an answer, and what each counts as, over real HTTP."""

from collections import deque
from typing import Any

import pytest
from standin import Answer, Body, completion, served

from harness.errors import UsageError
from harness.policies import open_policy
from harness.policies.base import Request, Sampling
from harness.policies.openai.address import parse_address
from harness.policies.openai.parameters import least_limit, overflows, room_left
from harness.policies.openai.policy import EndpointPolicy
from harness.settings.model import ModelSettings
from harness.types import Completion, Finish, Message

FAST = ModelSettings(concurrency=2, timeout=5.0, retries=1, patience=0.0)


def ask(id: int = 0, tokens: int = 64) -> Request:
    sampling = Sampling(temperature=0.5, top_p=0.9, max_tokens=tokens)
    return Request(f"r{id}", (Message("user", "question"),), sampling, seed=id)


def answered(answer: Answer, count: int = 1) -> tuple[dict[str, Completion], EndpointPolicy]:
    with served(answer) as (url, _):
        policy = EndpointPolicy(url, parse_address(url), FAST)
        return dict(policy.generate(deque([ask(i) for i in range(count)]))), policy


def saying(changed: Body) -> Answer:
    """A server that answers a probe as usual, and a question with a changed completion."""

    def answer(body: Body, earlier: int) -> tuple[int, Any]:
        if body["messages"][-1]["content"] == "Hello":
            return 200, completion()
        made = completion("partial", tokens=4)
        choice = made["choices"][0]
        made |= {k: v for k, v in changed.items() if k in ("error", "choices", "usage")}
        choice |= {k: v for k, v in changed.items() if k in ("finish_reason",)}
        choice |= {"error": changed["choice_error"]} if "choice_error" in changed else {}
        choice["message"] |= changed.get("message", {})
        return 200, made

    return answer


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"finish_reason": "error"}, "ended the reply with 'error'"),
        ({"finish_reason": "abort"}, "ended the reply with 'abort'"),
        ({"finish_reason": "content_filter"}, "content_filter"),
        ({"finish_reason": "recitation"}, "recitation"),
        ({"error": {"message": "upstream is out", "code": 502}}, "upstream is out (code 502)"),
        ({"error": "upstream\n\x1b[31m is out"}, r"upstream \x1b[31m is out"),
        ({"choice_error": {"message": "worker died"}}, "worker died"),
        ({"error": {"message": "quota"}, "choices": []}, "quota"),
        ({"message": {"content": "", "reasoning_content": "hm"}}, "a thought and no text"),
        ({"message": {"content": None, "reasoning": "hm"}}, "a thought and no text"),
        ({"message": {"content": None, "tool_calls": [{"id": "1"}]}}, "tool parser"),
        ({"usage": {"completion_tokens": 0}}, "0 tokens beside a text"),
        ({"message": {"content": [{"type": "image_url"}]}}, 'no text: "image_url"'),
    ],
)
def test_what_is_no_answer_has_no_score_and_keeps_the_servers_words(
    changed: Body, words: str
) -> None:
    found, policy = answered(saying(changed))
    assert found == {}
    assert words.replace('"', "") in policy.failures["r0"].replace('"', "")
    assert policy.failures["r0"].isprintable()
    assert len(policy.failures["r0"]) <= 300


def test_an_error_in_a_good_status_is_asked_again() -> None:
    def once(body: Body, earlier: int) -> tuple[int, Any]:
        return 200, completion() if earlier else {"error": {"message": "busy", "code": 429}}

    found, policy = answered(once)
    assert found["r0"].text == "hello"
    assert policy.failures == {}


def test_a_thought_that_used_up_the_limit_is_a_truncated_completion() -> None:
    cut = {"finish_reason": "length", "message": {"content": None, "reasoning_content": "25 or"}}
    found, _ = answered(saying(cut))
    reply = found["r0"]
    assert (reply.text, reply.finish, reply.reasoning) == ("", Finish.LENGTH, "25 or")
    assert (reply.answer, reply.thought, reply.thought_finished) == ("", "25 or", False)


@pytest.mark.parametrize(
    ("content", "text", "thought"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab", ""),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "25"},
            ],
            "25",
            "hm",
        ),
    ],
)
def test_content_in_parts_is_read(content: list[Body], text: str, thought: str) -> None:
    found, _ = answered(saying({"message": {"content": content}}))
    assert (found["r0"].text, found["r0"].reasoning) == (text, thought)


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "the request exceeds the available context size",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Input is longer than the model's limit",
    ],
)
def test_a_full_context_cuts_the_completion_off(message: str) -> None:
    found, policy = answered(lambda body, earlier: (400, {"error": {"message": message}}))
    assert found["r0"] == Completion("", Finish.LENGTH, 0)
    assert policy.failures == {}


@pytest.mark.parametrize(
    ("message", "room"),
    [
        ("maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the "
         "messages, 1000 in the completion).", 96),
        ("'max_tokens' or 'max_completion_tokens' is too large: 1000. This model's maximum context "
         "length is 4096 tokens and your request has 4000 input tokens (1000 > 4096 - 4000).", 96),
        ("maximum context length of 4096 tokens. You requested a total of 5000 tokens: 4000 tokens "
         "from the input messages and 1000 tokens for the completion.", 96),
        ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 1000 "
         "`max_new_tokens`", 96),
        ("exceeds the available context size, 'n_prompt_tokens': 5000, 'n_ctx': 4096", 0),
        ("the request exceeds the available context size", 0),
    ],
)  # fmt: skip
def test_the_room_that_an_overflow_leaves(message: str, room: int) -> None:
    assert overflows(message)
    assert room_left(message) == room


def test_a_completion_that_fits_in_part_is_asked_for_with_the_room_there_is() -> None:
    def small(body: Body, earlier: int) -> tuple[int, Any]:
        if body["max_tokens"] > 10:
            told = "maximum context length is 100 tokens and your request has 90 input tokens"
            return 400, {"error": {"message": told}}
        return 200, completion("cut", "length", body["max_tokens"])

    found, _ = answered(small)
    assert found["r0"] == Completion("cut", Finish.LENGTH, 10)


def picky(*refused: str, least: int = 1) -> Answer:
    """A server that refuses parameters by name, and token limits below its least."""

    def answer(body: Body, earlier: int) -> tuple[int, Any]:
        for name in refused:
            if name in body:
                told = f"Unsupported parameter: '{name}' is not supported with this model."
                if name == "max_tokens":
                    told += " Use 'max_completion_tokens' instead."
                return 400, {"error": {"message": told, "code": "unsupported_parameter"}}
        limit: Any = body.get("max_completion_tokens", body.get("max_tokens", 0))
        if limit < least:
            told = "Invalid 'max_tokens': integer below minimum value. Expected a value >= "
            return 400, {"error": {"message": f"{told}{least}, but got {limit} instead."}}
        return 200, completion(tokens=min(3, limit))

    return answer


def test_parameters_are_learnt_from_refusals_at_any_host() -> None:
    refused = ("max_tokens", "temperature", "top_p", "seed")
    with served(picky(*refused, least=16)) as (url, seen):
        policy = open_policy(url, FAST)
        assert isinstance(policy, EndpointPolicy)
        found = dict(policy.generate(deque([ask(i) for i in range(6)])))
    assert len(found) == 6
    assert policy.failures == {}
    assert not set(refused) & set(seen[-1])
    assert seen[-1]["max_completion_tokens"] == 64
    assert [any(name in note for note in policy.notes) for name in refused[1:]] == [True] * 3


def test_only_what_is_refused_is_left_out() -> None:
    told = "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default"

    def warm(body: Body, earlier: int) -> tuple[int, Any]:
        if "temperature" in body:
            return 400, {"error": {"message": told}}
        return 200, completion()

    with served(warm) as (url, seen):
        policy = EndpointPolicy(url, parse_address(url), FAST)
        assert len(dict(policy.generate(deque([ask()])))) == 1
    assert {"top_p", "seed", "max_tokens"} <= set(seen[-1])
    assert len(policy.notes) == 2


def test_a_refusal_of_something_else_is_told() -> None:
    def refusing(body: Body, earlier: int) -> tuple[int, Any]:
        if body["messages"][-1]["content"] == "Hello":
            return 200, completion()
        return 400, {"error": {"message": "no such voice"}}

    _, policy = answered(refusing)
    assert "no such voice" in policy.failures["r0"]


@pytest.mark.parametrize(
    ("message", "least"),
    [
        ("Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16", 16),
        ("max_tokens must be at least 2", 2),
        ("max_tokens should be greater than or equal to 8", 8),
        ("something else", 0),
    ],
)
def test_the_least_limit_of_a_refusal(message: str, least: int) -> None:
    assert least_limit(message) == least


def test_an_address_may_leave_parameters_out() -> None:
    with served(lambda body, earlier: (200, completion())) as (url, seen):
        policy = open_policy(url.replace("#", "?omit=seed,top_p#"), FAST)
        assert isinstance(policy, EndpointPolicy)
        assert len(dict(policy.generate(deque([ask()])))) == 1
    assert not {"seed", "top_p"} & set(seen[-1])
    assert seen[-1]["temperature"] == 0.5
    assert [note.split(",")[0] for note in policy.notes[1:]] == [
        "The address omits seed",
        "The address omits top_p",
    ]


def test_only_known_parameters_can_be_left_out() -> None:
    with pytest.raises(UsageError, match="Did you mean 'seed'"):
        open_policy("openai:http://localhost/v1?omit=seeds#m", FAST)
