"""Streamed completions have the same outcomes as whole ones."""

import json
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from standin import Body, completion, event, served, streamed

from harness.errors import ModelError
from harness.policies.base import Request, Sampling
from harness.policies.openai.address import parse_address
from harness.policies.openai.policy import EndpointPolicy
from harness.policies.openai.response import MalformedResponse, WithheldResponse, read_completion
from harness.policies.openai.stream import ResponseReader, UncountedStream
from harness.settings.model import ModelSettings
from harness.types import Completion, Finish, Message

TEXT = "The answer is \U0001f600 25.\n\ndata: no event"
WHOLE: dict[str, Body] = {
    "plain": completion(TEXT),
    "cut off": completion(TEXT, finish="length"),
    "no reason": completion(TEXT, finish=""),
    "filtered": completion(TEXT, finish="content_filter"),
    "failed": completion(TEXT, finish="error"),
    "tool": completion("", finish="tool_calls"),
    "miscounted": completion(TEXT, tokens=0),
    "coerced count": completion(TEXT) | {"usage": {"completion_tokens": "3"}},
    "error": completion() | {"choices": [], "error": {"message": "quota", "code": 1}},
    "late error": completion(TEXT) | {"error": {"message": "upstream is out"}},
}
MESSAGES: dict[str, Body] = {
    "reasoning": {"content": "25", "reasoning_content": "hm, let me see"},
    "reasoning only": {"content": None, "reasoning": "hm"},
    "refusal": {"content": None, "refusal": "I cannot say."},
    "call": {"content": None, "tool_calls": [{"id": "1"}]},
    "parts": {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "h"}]},
            {"type": "thinking", "thinking": [{"type": "text", "text": "m"}]},
            {"type": "text", "text": "2"},
            {"type": "text", "text": "5"},
        ]
    },
    "image": {"content": [{"type": "image_url"}]},
}


def fixtures() -> Iterator[tuple[str, Body]]:
    yield from WHOLE.items()
    for name, message in MESSAGES.items():
        made = completion()
        made["choices"][0]["message"] = {"role": "assistant", **message}
        yield name, made
        cut = json.loads(json.dumps(made))
        cut["choices"][0]["finish_reason"] = "length"
        yield f"{name}, cut off", cut
    counted = completion(TEXT, tokens=None)
    counted["choices"][0]["logprobs"] = {"content": [{"token": "a"}, {"token": "b"}]}
    yield "logprobs", counted
    broken = completion(TEXT)
    broken["choices"][0]["error"] = {"message": "worker died"}
    yield "choice error", broken


def outcome(read: Callable[..., Completion], *given: object) -> object:
    """The completion, or the kind of error and its words."""
    try:
        return read(*given)
    except (ValueError, ModelError) as error:
        return type(error), str(error)


def read(data: bytes, rng: random.Random | None = None) -> Completion:
    """Read a response whose bytes arrive in pieces."""
    reader, at = ResponseReader(50), 0
    while at < len(data):
        size = rng.randint(1, 40) if rng else len(data)
        reader.feed(data[at : at + size])
        at += size
    return reader.completion()


@pytest.mark.parametrize("whole", [pytest.param(w, id=name) for name, w in fixtures()])
def test_a_streamed_completion_is_read_like_a_whole_one(whole: Body) -> None:
    data = json.dumps(whole).encode()
    expected = outcome(read_completion, data)
    assert outcome(read, data) == expected
    for size in (1, 3, 1000):
        data = b"".join(streamed(whole, size))
        assert outcome(read, data) == expected
        assert outcome(read, data.replace(b"\n", b"\r\n"), random.Random(size)) == expected
    reader = ResponseReader(50)
    for byte in b"\n" + data.rstrip():
        reader.feed(bytes([byte]))
    assert outcome(reader.completion) == expected


def part(content: str, finish: str | None = None, field: str = "delta") -> bytes:
    choice = {"index": 0, field: {"content": content}, "finish_reason": finish}
    return event({"choices": [choice], "usage": {"completion_tokens": 3}})


def test_a_last_message_that_repeats_the_whole_text_is_not_added_to_it() -> None:
    assert read(part("4") + part("2") + part("42", "stop", "message")).text == "42"
    assert read(part("4", field="message") + part("2", "stop", "message")).text == "42"
    assert read(part("4", field="message") + part("4", "stop", "message")).text == "44"


def test_a_character_that_is_split_in_two_events_is_whole() -> None:
    text = read(part("x\ud83d") + part("\ude00", "stop")).text
    assert text == "x\U0001f600"


def test_signs_of_life_are_no_content() -> None:
    reader = ResponseReader(50)
    reader.feed(b": ping\n\n")
    reader.feed(b"event: ping\ndata: {}\n\n")
    reader.feed(event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}))
    assert reader.growth == 0 and reader.streamed
    reader.feed(event({"choices": [{"index": 0, "delta": {"content": "a"}}]}))
    reader.feed(event({"choices": [{"index": 1, "delta": {"content": "b"}}]}))
    reader.feed(event({"choices": [{"index": 0, "delta": {"reasoning": "c"}}]}))
    assert reader.growth == 2


@pytest.mark.parametrize(
    "data",
    [
        b"".join(list(streamed(completion(TEXT)))[:-3]),  # before the reason of its end
        b": ping\n\n: ping\n\n",
        b'data: {"choices": [{"delta": {"content": "4"\n\n',
        b"data: [1]\n\n",
        b'data: {"choices": ["4"]}\n\n',
        b'data: {"choices": [{"delta": {"content": 4}}]}\n\ndata: [DONE]\n\n',
        b'event: error\ndata: {"message": "out of memory"}\n\n',
        b"data: [DONE]\n\n",
    ],
)
def test_a_stream_that_breaks_off_or_is_none_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedResponse):
        read(data)


def test_a_stream_beyond_its_token_limit_is_given_up() -> None:
    reader = ResponseReader(5)
    with pytest.raises(WithheldResponse, match="beyond the token limit"):
        for _ in range(1000):
            reader.feed(event({"choices": [{"index": 0, "delta": {"content": " "}}]}))


def test_a_stream_without_a_count_is_told_apart() -> None:
    with pytest.raises(UncountedStream):
        read(b"".join(streamed(completion(TEXT, tokens=None))))


@pytest.mark.parametrize("stream", [True, False])
def test_a_full_context_that_is_told_in_a_response_cuts_the_completion_off(stream: bool) -> None:
    message = "This model's maximum context length is 100 tokens, and the prompt has 120."

    def full(body: Body, earlier: int) -> tuple[int, Any]:
        if body["messages"][-1]["content"] == "Hello":
            return 200, completion()
        whole = {"error": {"message": message}}
        return 200, iter([event(whole)]) if stream else whole

    with served(full) as (url, seen):
        policy = EndpointPolicy(url, parse_address(url), ModelSettings(retries=2, patience=0.0))
        request = Request("r", (Message("user", "long"),), Sampling(max_tokens=50), 1)
        found = dict(policy.generate(deque([request])))
    assert (found["r"].text, found["r"].finish, found["r"].sampled) == ("", Finish.LENGTH, 0)
    assert len(seen) == 1
