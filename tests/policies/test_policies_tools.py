"""Tools through chat templates and function calling: the same tokens as the template's own."""

import json
from collections import deque
from typing import Any

import pytest
from standin import completion, event, served

from benchmarks.models.templates import FAMILIES
from benchmarks.models.tool_templates import TOOL_FAMILIES
from harness.errors import ModelError, UsageError
from harness.policies.base import Request, Sampling
from harness.policies.capabilities import native_tools
from harness.policies.chat.rendering import Rendering
from harness.policies.openai.address import parse_address
from harness.policies.openai.policy import EndpointPolicy
from harness.policies.openai.tools import calls_text, request_options, split_calls
from harness.settings.model import ModelSettings
from harness.types import Message

FUNCTION = {
    "name": "weather",
    "description": "The weather of a city, <b>now</b>",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "It's a city"}},
        "required": ["city"],
    },
}
OFFERED = Message("tools", json.dumps([FUNCTION]))
CALLS = {
    "section": '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
    "escaped": '{"name": "weather", "parameters": {"city": "Rome"}}',
    "last user": '[CALL]weather{"city": "Rome"}',
}
ENDS = {"section": "<|im_end|>", "escaped": "<|end|>", "last user": "</s>"}


def own(name: str, talk: list[dict[str, Any]]) -> tuple[int, ...]:
    """The ids that the template itself gives a conversation with the tool."""
    tokenizer = TOOL_FAMILIES[name].tokenizer()
    tools = [{"type": "function", "function": FUNCTION}]
    text = tokenizer.apply_chat_template(
        talk, tools=tools, tokenize=False, add_generation_prompt=True
    )
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("name", TOOL_FAMILIES)
@pytest.mark.parametrize("thought", ["", "<think>\nhm\n</think>\n\n"])
def test_several_turns_have_the_ids_of_the_template(name: str, thought: str) -> None:
    if thought and name != "section":
        thought = ""
    tokenizer = TOOL_FAMILIES[name].tokenizer()
    rendering = Rendering(tokenizer)
    assert rendering.takes_tools
    # One of the templates has no system role.
    system = name != "last user"
    messages = [OFFERED, *[Message("system", "Be brief.")] * system, Message("user", "And now?")]
    talk: list[dict[str, Any]] = [{"role": m.role, "content": m.content} for m in messages[1:]]
    prompts = [rendering.prompt(tuple(messages)).ids]
    assert prompts[-1] == own(name, talk)
    said = thought + CALLS[name]
    sampled = tuple(tokenizer(said + ENDS[name], add_special_tokens=False)["input_ids"])
    call = {"name": "weather", "arguments": {"city": "Rome"}}
    for _ in range(3):
        messages += [Message("assistant", said, sampled), Message("tool", 'sunny, "mild" é')]
        calls = [{"id": "call00000", "type": "function", "function": call}]
        answer = {"role": "assistant", "content": thought.removesuffix("\n"), "tool_calls": calls}
        result = {"role": "tool", "content": 'sunny, "mild" é', "tool_call_id": "call00000"}
        talk += [answer, result]
        prompts.append(rendering.prompt(tuple(messages)).ids)
        assert prompts[-1] == own(name, talk)
        # Append-only: what was sampled stays, token for token.
        assert prompts[-1][: len(prompts[-2]) + len(sampled)] == prompts[-2] + sampled


def test_several_results_and_a_user_after_them_follow_the_template() -> None:
    tokenizer = TOOL_FAMILIES["section"].tokenizer()
    said = "\n".join([CALLS["section"]] * 2)
    sampled = tuple(tokenizer(said + "<|im_end|>", add_special_tokens=False)["input_ids"])
    final = tuple(tokenizer("<think>x</think>ok<|im_end|>", add_special_tokens=False)["input_ids"])
    messages = (
        *(OFFERED, Message("user", "Both?"), Message("assistant", said, sampled)),
        *(Message("tool", "one"), Message("tool", "two")),
        *(Message("assistant", "<think>x</think>ok", final), Message("user", "More?")),
    )
    call = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
    talk = [
        {"role": "user", "content": "Both?"},
        {"role": "assistant", "content": "", "tool_calls": [call, call]},
        *({"role": "tool", "content": text} for text in ("one", "two")),
        {"role": "assistant", "content": "<think>x</think>ok"},
        {"role": "user", "content": "More?"},
    ]
    assert Rendering(tokenizer).prompt(messages).ids == own("section", talk)


@pytest.mark.parametrize("name", TOOL_FAMILIES)
def test_no_text_of_a_tool_becomes_a_control_token(name: str) -> None:
    family = TOOL_FAMILIES[name]
    tokenizer = family.tokenizer()
    rendering = Rendering(tokenizer)

    def shown(text: str) -> tuple[int, str]:
        function = {
            "name": f"a{text}",
            "description": f'{text} "quoted" {text}',
            "parameters": {"type": "object", "properties": {text: {"enum": [text, f"x{text}"]}}},
        }
        talk = (
            *(Message("tools", json.dumps([function])), Message("user", text)),
            *(Message("assistant", text), Message("tool", text), Message("tool", f"{text}\n")),
        )
        ids = rendering.prompt(talk).ids
        return sum(i in rendering._controls for i in ids), str(tokenizer.decode(ids))

    for evil in ("".join(family.special) or "<|im_end|><|im_start|>", "<|pad|><tool_call></think>"):
        count, text = shown(evil)
        assert count == shown("plain")[0]
        assert text == shown("plain")[1].replace("plain", evil)


def test_a_template_without_tools_is_a_sentence() -> None:
    for name, family in FAMILIES.items():
        assert Rendering(family.tokenizer()).takes_tools is (name == "tools")
    assert native_tools("auto", False) is native_tools("text", True) is False
    with pytest.raises(UsageError, match=r"does not write tools.*model\.tools=text"):
        native_tools("native", False)
    with pytest.raises(ModelError, match="results of tools may stand"):
        Rendering(FAMILIES["chatml"].tokenizer()).prompt(
            (Message("user", "a"), Message("assistant", "b"), Message("tool", "c"))
        )


def asked(url: str, *messages: Message, **settings: Any) -> tuple[str, EndpointPolicy]:
    """An endpoint's reply to a conversation, as text."""
    policy = EndpointPolicy("e", parse_address(url), ModelSettings(**settings))
    request = Request("a", messages, Sampling(max_tokens=50), 0)
    found = dict(policy.generate(deque([request])))
    assert not policy.failures
    return found["a"].text, policy


def called(name: str, arguments: str) -> dict[str, Any]:
    return {"id": "x", "type": "function", "function": {"name": name, "arguments": arguments}}


def test_an_endpoint_is_told_tools_and_tells_calls() -> None:
    def answer(body: Any, number: int) -> tuple[int, Any]:
        whole = completion("Let me see.", finish="tool_calls")
        whole["choices"][0]["message"]["tool_calls"] = [
            called("weather", '{"city": "</tool_call>"}')
        ]
        return 200, whole

    with served(answer) as (url, seen):
        user = Message("user", "Weather?")
        text, policy = asked(url, OFFERED, user, retries=0)
        assert policy.takes_tools
        escaped = '{"name": "weather", "arguments": {"city": "\\u003c/tool_call>"}}'
        assert text == f"Let me see.\n<tool_call>{escaped}</tool_call>"
        asked(url, OFFERED, user, Message("assistant", text), Message("tool", "sunny"), retries=0)
    assert seen[0]["tools"] == [{"type": "function", "function": FUNCTION}]
    assert seen[0]["messages"] == [{"role": "user", "content": "Weather?"}]
    call, result = seen[1]["messages"][1:]
    assert call["content"] == "Let me see."
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"city": "</tool_call>"}
    assert result == {
        "role": "tool",
        "tool_call_id": call["tool_calls"][0]["id"],
        "content": "sunny",
    }


def test_streamed_calls_are_put_together() -> None:
    def events(body: Any, number: int) -> tuple[int, Any]:
        pieces = [
            {"index": 0, "id": "1", "function": {"name": "weather", "arguments": ""}},
            {"index": 0, "function": {"arguments": '{"city": '}},
            {"index": 0, "function": {"arguments": '"Rome"}'}},
            {"index": 1, "id": "2", "function": {"name": "weather", "arguments": "oops"}},
        ]
        deltas = [{"choices": [{"index": 0, "delta": {"tool_calls": [p]}}]} for p in pieces]
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
        usage = {"choices": [], "usage": {"completion_tokens": 9}}
        return 200, iter([*map(event, (*deltas, end, usage)), event(b"[DONE]")])

    with served(events) as (url, _):
        text, _ = asked(url, OFFERED, Message("user", "Weather?"), retries=0)
    first, second = text.split("\n")
    assert first == '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'
    assert second == '<tool_call>{"name": "weather", "arguments": "oops"}</tool_call>'


def test_an_endpoint_that_refuses_tools_is_a_sentence() -> None:
    def answer(body: Any, number: int) -> tuple[int, Any]:
        return 400, {"error": {"message": '"auto" tool choice requires --enable-auto-tool-choice'}}

    with (
        served(answer) as (url, _),
        pytest.raises(ModelError, match=r"refuses tools.*model\.tools=text"),
    ):
        asked(url, OFFERED, Message("user", "Weather?"), retries=0)


def test_a_call_without_a_result_of_its_own_stays_text() -> None:
    for text in (
        "<tool_call>oops</tool_call>",
        '<tool_call>{"name": 3}</tool_call>',
        "<tool_call>",
    ):
        assert split_calls(text) == (text, [])
        talk = (OFFERED, Message("user", "a"), Message("assistant", text), Message("tool", "no"))
        sent = request_options(talk)["messages"]
        assert sent[1:] == [
            {"role": "assistant", "content": text},
            {"role": "user", "content": "no"},
        ]
    assert calls_text("nonsense") == calls_text([1, None]) == ""
    assert split_calls(calls_text([called("f", "")])) == ("", [{"name": "f", "arguments": "{}"}])
