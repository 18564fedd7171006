"""The fixed text around the messages of a conversation, as token ids, with or without tools."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import ModelError
from harness.policies.chat.template import ChatTemplate, read_template
from harness.policies.chat.text_encoding import Ids, TextEncoder
from harness.policies.chat.tool_turns import ToolTurns, masked
from harness.settings.model import Thinking
from harness.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Turns:
    """A `ChatTemplate` as ids; `history` stands before earlier replies.

    Results of tools have their own: `to_results` after a reply, `between_results`, `after_results`
    before the next reply and `history_results` before an earlier one.
    """

    bare: Ids
    opening: Ids | None
    between: Ids
    ask: Ids
    history: Ids
    bridge: Ids
    to_results: Ids = ()
    between_results: Ids = ()
    after_results: Ids = ()
    history_results: Ids = ()
    tools: ToolTurns | None = None

    @property
    def keeps_thoughts(self) -> bool:
        """True if replies keep their thoughts as long as only results of tools follow."""
        return self.tools is not None and self.tools.keeps_thoughts

    def before_reply(self, earlier: bool, after_results: bool) -> Ids:
        """The ids before a reply, the next one or an earlier one."""
        if after_results:
            return self.history_results if earlier else self.after_results
        return self.history if earlier else self.ask


@dataclass(frozen=True, slots=True)
class TooledTemplate:
    """A template read with tools, and the dangerous texts by the words that stand for them."""

    template: ChatTemplate
    texts: dict[str, str]


Encode = Callable[[str], Ids]


def turns_of(template: ChatTemplate, first: Encode, rest: Encode) -> Turns:
    """A template's text as ids; `first` encodes what a prompt begins with."""
    # The same as before the next reply unless thoughts are removed.
    history = template.ask if template.history is None else template.history
    turns = Turns(
        bare=first(template.bare),
        opening=None if template.opening is None else first(template.opening),
        between=rest(template.between or ""),
        ask=rest(template.ask),
        history=rest(history),
        bridge=rest(template.bridge),
    )
    tools = template.tool_turns
    if tools is None:
        return turns
    # What only the next reply is begun with, such as an opened thought, earlier ones lack.
    opened = template.ask.removeprefix(history) if template.ask.startswith(history) else ""
    return replace(
        turns,
        to_results=rest(tools.bridge),
        between_results=rest(tools.between),
        after_results=rest(tools.ask),
        history_results=rest(tools.ask.removesuffix(opened)),
        tools=tools,
    )


def read_tooled(
    tokenizer: PreTrainedTokenizerBase,
    thinking: Thinking,
    tools: str,
    plain: ChatTemplate,
    dangerous: Callable[[str], bool],
) -> TooledTemplate:
    """The template with these tools, whose dangerous texts are replaced by words.

    Raises:
        ModelError: It does not write them.
    """
    functions = json.loads(tools)
    definitions = [{"type": "function", "function": function} for function in functions]
    harmless, texts = masked(definitions, dangerous)
    template = read_template(tokenizer, thinking, harmless)
    name = str(harmless[0]["function"]["name"])
    written = (template.bare, template.opening, template.between, template.ask)
    if not any(name in (text or "") for text in written):
        raise ModelError(
            "The model's chat template does not write the definitions of tools: let them be told"
            " as text by --set model.tools=text."
        )
    # Templates that repeat the definitions before the last message have them once here.
    if name in template.bridge:
        template = replace(template, bridge=plain.bridge)
    return TooledTemplate(template, texts)


def tooled_turns(tooled: TooledTemplate, text: TextEncoder, encode: Encode) -> Turns:
    """The turns of a template with tools, its dangerous texts encoded by `encode`, as text."""
    if not tooled.texts:
        return turns_of(tooled.template, text.first, text.next)
    marks = re.compile("(" + "|".join(map(re.escape, tooled.texts)) + ")")

    def apart(whole: str, first: Encode) -> Ids:
        ids: Ids = ()
        pieces = marks.split(whole)
        for n, piece in enumerate(pieces):
            if n % 2 == 0:
                ids += text.next(piece) if n else first(piece)
                continue
            original = tooled.texts[piece]
            # Within quotes a template writes JSON.
            if pieces[n - 1].endswith('"'):
                original = json.dumps(original, ensure_ascii=False)[1:-1]
            ids += encode(original)
        return ids

    return turns_of(tooled.template, lambda t: apart(t, text.first), lambda t: apart(t, text.next))


def check(conversation: tuple[Message, ...]) -> tuple[str, str | None, tuple[Message, ...]]:
    """The definitions of tools, the system message and the other messages of a conversation.

    Raises:
        ModelError: It is not of that form.
    """
    rest = conversation
    has_tools = bool(rest) and rest[0].role == "tools"
    tools, rest = (rest[0].content, rest[1:]) if has_tools else ("", rest)
    has_system = bool(rest) and rest[0].role == "system"
    system, rest = (rest[0].content, rest[1:]) if has_system else (None, rest)
    roles = [message.role for message in rest]
    allowed = {"": ["user"], "user": ["assistant"], "assistant": ["user"]}
    if tools:
        allowed |= {"assistant": ["user", "tool"], "tool": ["tool", "assistant"]}
    fits = all(
        after in allowed.get(before, ()) for before, after in zip(["", *roles], roles, strict=False)
    )
    if not fits or not roles or roles[-1] == "assistant":
        raise ModelError(
            f"A conversation of {[m.role for m in conversation]} cannot be rendered: give an "
            "optional system message, then user and assistant in turn, ending with the user; "
            "results of tools may stand for the user where tools are offered."
        )
    return tools, system, rest
