"""Reads from a chat template what it writes around calls and results of tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import ModelError
from harness.policies.chat.probe import FAILURES, Probe, Tools

_USER, _REPLY, _RESULT = "MARKASKEDMARK", "MARKCALLINGMARK", "MARKRESULT{}MARK"
_THOUGHT = "MARKREASONMARK"
_NAME, _TEXT = "MARKTOOLMARK", "MARKSTRING{}MARK"
_ID = "call00000"  # some templates insist on nine characters
PROBED: Tools = (
    {
        "type": "function",
        "function": {
            "name": _NAME,
            "description": "A tool.",
            "parameters": {"type": "object", "properties": {}},
        },
    },
)
"""A definition by which a template shows whether it takes tools."""


@dataclass(frozen=True, slots=True)
class ToolTurns:
    """The text around results of tools.

    `bridge` stands between a reply and its first result, `between` between two results, and `ask`
    between the last one and the next reply. Where `escapes` is set a result is written as the
    inside of a JSON text; where `trims` is, without the white space around it. `keeps_thoughts` is
    True where replies that only results have followed keep their thoughts.
    """

    bridge: str
    between: str
    ask: str
    escapes: bool
    trims: bool
    keeps_thoughts: bool

    def content(self, text: str) -> str:
        """A result as the template writes it."""
        text = text.strip() if self.trims else text
        return json.dumps(text, ensure_ascii=False)[1:-1] if self.escapes else text


def takes_tools(probe: Probe) -> bool:
    """True if a template, probed with `PROBED`, writes definitions and results of tools."""
    for talk in ([("user", _USER)], [("system", "MARK"), ("user", _USER)]):
        try:
            if _NAME in probe.render(talk):
                return _read(probe) is not None
        except FAILURES:
            continue
    return False


def read_tool_turns(probe: Probe) -> ToolTurns:
    """The text around results; raises ModelError where the template writes none."""
    found = _read(probe)
    if found is None:
        raise ModelError(
            "The model's chat template has no results of tools: let them be told as text by"
            " --set model.tools=text."
        )
    return found


def _read(probe: Probe) -> ToolTurns | None:
    first, second = _RESULT.format(0), _RESULT.format(1)
    for calls in (False, True):
        try:
            bridge, _, ask = _after_reply(probe, calls, (first,)).partition(first)
            # Two results in a row are two calls in one reply.
            rest = _after_reply(probe, calls, (first, second)).partition(first)[2]
            between, found, _ = rest.partition(second)
            if not found:
                continue
            odd = _after_reply(probe, calls, (f' {first}"x ',))
        except FAILURES:
            continue
        padded = f' {first}"x '
        return ToolTurns(
            bridge=bridge,
            between=between,
            ask=ask,
            escapes=f'{first}\\"x' in odd,
            trims=padded not in odd and padded.replace('"', '\\"') not in odd,
            keeps_thoughts=_keeps_thoughts(probe, calls),
        )
    return None


def _messages(calls: bool, results: Sequence[str], reply: str = _REPLY) -> list[dict[str, Any]]:
    called = {"name": _NAME, "arguments": {}}
    made = [
        {"id": _ID[:-1] + str(n), "type": "function", "function": called}
        for n in range(len(results) or 1)
    ]
    answer: dict[str, Any] = {"role": "assistant", "content": reply}
    if calls:
        answer["tool_calls"] = made
    told = [
        {"role": "tool", "content": text, "name": _NAME, "tool_call_id": call["id"]}
        for text, call in zip(results, made, strict=False)
    ]
    return [{"role": "user", "content": _USER}, answer, *told]


def _after_reply(probe: Probe, calls: bool, results: Sequence[str]) -> str:
    """The text from the end of a reply on, which is what its model samples; ValueError if none."""
    whole = probe.render_all(_messages(calls, results))
    if not calls:
        _, found, rest = whole.partition(_REPLY)
        if not found or _first(results) not in rest:
            raise ValueError("the reply or its results are not written")
        return rest
    # The same reply as the last message: what both have in common is the reply.
    alone = probe.render_all(_messages(calls, results)[:2], ask=False)
    shared = _common(alone, whole)
    plain = probe.render_all(_messages(False, ())[:2], ask=False)
    closing = plain.rpartition(_REPLY)[2]
    end = len(alone) - len(closing) if closing and alone.endswith(closing) else shared
    if end > shared or _first(results) not in whole[end:]:
        raise ValueError("the reply's end cannot be found")
    return whole[end:]


def _first(results: Sequence[str]) -> str:
    return results[0].strip().partition('"')[0]


def _common(one: str, other: str) -> int:
    """The length of the beginning that two texts share."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _keeps_thoughts(probe: Probe, calls: bool) -> bool:
    thoughtful = f"<think>\n{_THOUGHT}\n</think>\n\n{_REPLY}"
    try:
        return _THOUGHT in probe.render_all(_messages(calls, (_RESULT.format(0),), thoughtful))
    except FAILURES:
        return False


def masked(tools: Tools, dangerous: Callable[[str], bool]) -> tuple[Tools, dict[str, str]]:
    """Definitions with marker words for dangerous texts, and the texts by their marker words."""
    texts: dict[str, str] = {}

    def replace(value: Any) -> Any:
        if isinstance(value, str):
            if not dangerous(value):
                return value
            return texts.setdefault(value, _TEXT.format(len(texts)))
        if isinstance(value, dict):
            return {replace(key): replace(item) for key, item in value.items()}
        return [replace(item) for item in value] if isinstance(value, list) else value

    found: Tools = [replace(dict(tool)) for tool in tools]
    return found, {mark: text for text, mark in texts.items()}
