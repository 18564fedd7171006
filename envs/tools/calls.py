"""Reads the calls of tools in a reply, in the forms in which families of models write them.

These are `<tool_call>{"name": …, "arguments": {…}}</tool_call>` (the form that prompts ask for),
`<tool_call>` around a name and tagged arguments, a JSON object or list alone or at the end, and a
name with a JSON object behind it. Only a model's own reply is ever read for calls.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_MOST_CHARACTERS = 200_000  # of a reply; what is longer calls nothing
_MOST_CALLS = 64
_BEGIN = re.compile(r'\[?[ \t\r\n]{0,9}\{[ \t\r\n]{0,9}"(?:name|function|type)"')
_FUNCTION = re.compile(r"<function=([\w.-]{1,200})>")
_PARAMETER = re.compile(r"<parameter=([^<>\n]{1,200})>")
_NAME = re.compile(r"[\w.-]{1,200}")
_HOW = 'Write <tool_call>{"name": "…", "arguments": {…}}</tool_call>.'


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call: the tool's name and its arguments; or the `problem` with what was written."""

    name: str
    arguments: Mapping[str, Any]
    problem: str = ""


def read_calls(reply: str, names: frozenset[str] = frozenset()) -> tuple[str, list[ToolCall]]:
    """The text of a reply without its calls, and the calls in order.

    A tag that holds no call is one with a problem. JSON without tags is a call where it names one
    of `names`.
    """
    if len(reply) > _MOST_CHARACTERS:
        return reply, []
    if _OPEN in reply:
        return _tagged(reply)
    if "<function=" in reply:
        calls = list(_functions(reply))
        return (reply[: reply.find("<function=")].strip(), calls) if calls else (reply, [])
    found = _untagged(reply, names)
    return found or (reply, [])


def canonical_reply(reply: str, names: frozenset[str]) -> str:
    """A reply with its calls in the form that prompts ask for; as it is where it calls nothing."""
    text, calls = read_calls(reply, names)
    if not calls or any(call.problem for call in calls):
        return reply
    written = []
    for call in calls:
        told = json.dumps({"name": call.name, "arguments": call.arguments})
        # A tag within a text would end the call.
        written.append(f"{_OPEN}{told.replace('<', chr(92) + 'u003c')}{_CLOSE}")
    return "\n".join([*([text] if text else []), *written])


def _tagged(reply: str) -> tuple[str, list[ToolCall]]:
    calls: list[ToolCall] = []
    texts, place = [], 0
    while (start := reply.find(_OPEN, place)) >= 0 and len(calls) < _MOST_CALLS:
        texts.append(reply[place:start])
        begin = start + len(_OPEN)
        end, found = _json_call(reply, begin)
        if found is None:
            closed = reply.find(_CLOSE, begin)
            end = len(reply) if closed < 0 else closed
            found = list(_written_out(reply[begin:end]))
        calls += found
        place = end + len(_CLOSE) if reply.startswith(_CLOSE, end) else end
    return "".join([*texts, reply[place:]]).strip(), calls


def _json_call(reply: str, begin: int) -> tuple[int, list[ToolCall] | None]:
    """Where a call in JSON ends, and what it holds; None where no JSON stands there.

    A closing tag within a text of the JSON ends nothing.
    """
    start = begin + len(reply[begin : begin + 100]) - len(reply[begin : begin + 100].lstrip())
    if not reply.startswith(("{", "["), start):
        return begin, None
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(reply, start)
    except (ValueError, RecursionError):
        return begin, None
    end += len(reply[end : end + 100]) - len(reply[end : end + 100].lstrip())
    return end, [_call_of(one) for one in (value if isinstance(value, list) else [value])]


def _call_of(value: object) -> ToolCall:
    """A call from its JSON, under the names that models and endpoints give its parts."""
    told = value.get("function", value) if isinstance(value, dict) else value
    if isinstance(told, str) and isinstance(value, dict):
        told = {**value, "name": told}
    if not isinstance(told, dict) or not isinstance(told.get("name"), str):
        return ToolCall("", {}, f'The call has no "name". {_HOW}')
    given = told.get("arguments", told.get("parameters", {}))
    if isinstance(given, str):  # as endpoints have them
        try:
            given = json.loads(given or "{}", strict=False)
        except (ValueError, RecursionError):
            return ToolCall(told["name"], {}, f"The arguments are no JSON object. {_HOW}")
    if given is None:
        given = {}
    if not isinstance(given, dict):
        return ToolCall(told["name"], {}, f"The arguments are no JSON object. {_HOW}")
    return ToolCall(told["name"], given)


def _written_out(inside: str) -> Iterator[ToolCall]:
    """A call whose arguments are tags: `<function=…><parameter=…>`, or keys and values."""
    calls = list(_functions(inside))
    name = inside.partition("<arg_key>")[0].strip()
    if calls:
        yield from calls
    elif _NAME.fullmatch(name) and ("<arg_key>" in inside or name == inside.strip()):
        arguments = {}
        for piece in inside.split("<arg_key>")[1:]:
            key, _, rest = piece.partition("</arg_key>")
            value = rest.partition("<arg_value>")[2].partition("</arg_value>")[0]
            arguments[key.strip()] = _value(value)
        yield ToolCall(name, arguments)
    else:
        yield ToolCall("", {}, f"The call is not JSON. {_HOW}")


def _functions(text: str) -> Iterator[ToolCall]:
    starts = list(_FUNCTION.finditer(text))[:_MOST_CALLS]
    for n, start in enumerate(starts):
        end = starts[n + 1].start() if n + 1 < len(starts) else len(text)
        body = text[start.end() : end].partition("</function>")[0]
        named = list(_PARAMETER.finditer(body))
        if not named and body.strip().startswith("{"):
            yield _call_of({"name": start[1], "arguments": body.strip()})
            continue
        arguments = {}
        for place, mark in enumerate(named):
            stop = named[place + 1].start() if place + 1 < len(named) else len(body)
            value = body[mark.end() : stop].partition("</parameter>")[0]
            arguments[mark[1].strip()] = _value(value.removeprefix("\n").removesuffix("\n"))
        yield ToolCall(start[1], arguments)


def _value(text: str) -> Any:
    """An argument between tags: JSON where it is a number, list or object, else the text."""
    stripped = text.strip()
    if stripped[:1] in "{[-0123456789tfn" and stripped:
        try:
            return json.loads(stripped)
        except (ValueError, RecursionError):
            return text
    return text


def _untagged(reply: str, names: frozenset[str]) -> tuple[str, list[ToolCall]] | None:
    """Calls as JSON without tags, or as a name with JSON behind it; None where there are none."""
    begin = _BEGIN.search(reply)
    if begin:
        _, found = _json_call(reply, begin.start())
        if found and all(call.name in names for call in found):
            return reply[: begin.start()].strip(), found
    name, brace, _ = reply.partition("{")
    word = name.strip().split()[-1] if name.strip() else ""
    if brace and word in names:
        _, found = _json_call('{"name": "", "arguments": ' + reply[len(name) :].strip() + "}", 0)
        if found and not found[0].problem:
            return name.strip().removesuffix(word).strip(), [ToolCall(word, found[0].arguments)]
    return None
