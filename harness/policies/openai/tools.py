"""Function calling of OpenAI-compatible endpoints, to and from a conversation's own form.

In a conversation a call stands in the reply's text, as `<tool_call>{"name": …, "arguments":
{…}}</tool_call>`, whatever the model. An endpoint tells and is told calls apart from the text.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import ModelError
from harness.types import Message

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


def request_options(conversation: Sequence[Message]) -> dict[str, Any]:
    """The messages of a request, and its tools where the conversation offers any."""
    if not conversation or conversation[0].role != "tools":
        return {"messages": [{"role": m.role, "content": m.content} for m in conversation]}
    functions = json.loads(conversation[0].content)
    return {
        "messages": _messages(conversation[1:]),
        "tools": [{"type": "function", "function": function} for function in functions],
    }


def require_no_tools(words: str, sent: Mapping[str, Any]) -> None:
    """Raise ModelError where a refused request offered tools, and the refusal is about them."""
    if "tools" in sent and "tool" in words.lower():
        raise ModelError(
            f"The endpoint refuses tools ({' '.join(words.split())[:200]}): let them be told as"
            " text by --set model.tools=text."
        )


def _messages(conversation: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages with calls apart from texts, where each call has its result."""
    sent: list[dict[str, Any]] = []
    place = 0
    while place < len(conversation):
        message = conversation[place]
        end = place + 1
        while end < len(conversation) and conversation[end].role == "tool":
            end += 1
        results = conversation[place + 1 : end]
        text, calls = split_calls(message.content) if results else ("", [])
        if results and len(calls) == len(results):
            named = [
                {"id": f"call_{place}_{n}", "type": "function", "function": call}
                for n, call in enumerate(calls)
            ]
            sent.append({"role": message.role, "content": text, "tool_calls": named})
            sent += [
                {"role": "tool", "tool_call_id": call["id"], "content": result.content}
                for call, result in zip(named, results, strict=True)
            ]
        else:
            # What the endpoint took for no call has no result of its own there.
            sent.append({"role": message.role, "content": message.content})
            if results:
                told = "\n\n".join(result.content for result in results)
                sent.append({"role": "user", "content": told})
        place = end
    return sent


def split_calls(text: str) -> tuple[str, list[dict[str, str]]]:
    """A reply's text and its calls; no calls where one of them is not written as `call_text` does.

    Arguments are JSON texts, as endpoints have them.
    """
    calls: list[dict[str, str]] = []
    pieces, place = [], 0
    while (start := text.find(_OPEN, place)) >= 0:
        end = text.find(_CLOSE, start)
        if end < 0:
            return text, []
        try:
            call = json.loads(text[start + len(_OPEN) : end])
        except (ValueError, RecursionError):
            return text, []
        arguments = call.get("arguments") if isinstance(call, dict) else None
        if not isinstance(arguments, dict) or not isinstance(call.get("name"), str):
            return text, []
        calls.append({"name": call["name"], "arguments": json.dumps(arguments)})
        pieces.append(text[place:start])
        place = end + len(_CLOSE)
    return "".join([*pieces, text[place:]]).strip(), calls


def calls_text(calls: object) -> str:
    """The calls of an endpoint's message as text; "" where it holds none."""
    if not isinstance(calls, list):
        return ""
    return "\n".join(call_text(call) for call in calls if isinstance(call, Mapping))


def call_text(call: Mapping[str, Any]) -> str:
    """One call as text. Arguments that are no JSON object stay as they are, for the reader."""
    function = call.get("function")
    told = function if isinstance(function, Mapping) else call
    arguments = told.get("arguments")
    if isinstance(arguments, str):
        try:
            found = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            found = arguments
        arguments = found if isinstance(found, dict) else arguments
    whole = json.dumps(
        {"name": str(told.get("name") or ""), "arguments": {} if arguments is None else arguments},
        ensure_ascii=False,
    )
    # A tag within a text would end the call.
    return f"{_OPEN}{whole.replace('<', chr(92) + 'u003c')}{_CLOSE}"


def merge_calls(calls: list[dict[str, Any]], pieces: object) -> int:
    """Add the pieces of calls that an event of a stream brought; returns their characters."""
    size = 0
    for piece in pieces if isinstance(pieces, list) else []:
        if not isinstance(piece, Mapping):
            continue
        function = piece.get("function")
        function = function if isinstance(function, Mapping) else {}
        place = piece.get("index")
        # Servers that send whole calls leave the number out.
        if type(place) is not int or not 0 <= place <= len(calls):
            place = len(calls) if function.get("name") or not calls else len(calls) - 1
        if place == len(calls):
            calls.append({"function": {"name": "", "arguments": ""}})
        told = calls[place]["function"]
        for name in ("name", "arguments"):
            part = function.get(name)
            if isinstance(part, Mapping):
                part = json.dumps(part)
            if isinstance(part, str):
                told[name] += part
                size += len(part)
    return size
