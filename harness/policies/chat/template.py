"""Extracts the fixed text around messages from a chat template, by rendering probes.

The template never sees a real message. It renders marker words, and the text between them surrounds
any message of that role. Conversations are then put together append-only: the prompt of a
completion is, token for token, a prefix of the next turn's prompt. Only where the template removes
thoughts from earlier replies they are removed here too, which changes the turns before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ModelError
from harness.policies.chat.probe import DAY, FAILURES, Probe, Tools
from harness.policies.chat.thinking import Render, Variables, find_switch, switched, thinks
from harness.policies.chat.tool_turns import PROBED, ToolTurns, read_tool_turns, takes_tools
from harness.settings.model import Thinking

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SYSTEM, _USER, _REPLY = "MARKSYSTEMMARK", "MARKUSER{}MARK", "MARKREPLY{}MARK"
_THOUGHT = "MARKTHOUGHTMARK"

PLAIN = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant:' + message['content'] + (eos_token or '') + '\\n\\n' }}{% else %}"
    "{{ message['role'] | capitalize + ': ' + message['content'] + '\\n\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""For base models without a template: "User: …", "Assistant: …", a blank line between."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The text around messages; `None` for `opening` and `between` means no system role.

    With a system message: opening, system, between, user, ask. Without: bare, user, ask. Then for
    each further turn: reply, bridge, user, ask. `closing` follows a reply that ends the text, and
    `inside` stands between the thought and the answer of one reply, where they are written apart.

    `history` stands instead of `ask` before an earlier reply, and `lead` begins its answer, where
    thoughts are removed from earlier replies; `history` is None where they stay. `thinks` is True
    if the model thinks before it answers. `tool_turns` surround the results of tools; None where
    the template was read without tools, or takes none.
    """

    opening: str | None
    between: str | None
    bare: str
    ask: str
    bridge: str
    closing: str
    inside: str
    history: str | None
    lead: str
    thinks: bool
    trims: bool
    notes: tuple[str, ...]
    identity: str
    tool_turns: ToolTurns | None = None


def _turns(count: int) -> list[tuple[str, str]]:
    """User, reply, user, … with `count` user messages."""
    turns = [("user", _USER.format(0))]
    for i in range(1, count):
        turns += [("assistant", _REPLY.format(i)), ("user", _USER.format(i))]
    return turns


def _system(probe: Probe) -> tuple[str, str] | None:
    """The text before and after a system message; None where the template has no such role."""
    try:
        opening, between, _ = probe.around([("system", _SYSTEM), ("user", _USER.format(0))])
    except FAILURES:
        return None
    return opening, between


def _closing(probe: Probe) -> str:
    """The text after a reply that nothing follows; "" where the template cannot render one."""
    talk = [("user", _USER.format(0)), ("assistant", _REPLY.format(0))]
    try:
        return probe.render(talk, ask=False).rpartition(_REPLY.format(0))[2]
    except FAILURES:
        return ""


def _inside(probe: Probe) -> str:
    """The text between a reply's thought and its answer; "" where thoughts are not written."""
    reply = _REPLY.format(0)
    talk = [("user", _USER.format(0)), ("assistant", reply)]
    try:
        before, _, _ = probe.render(talk, _THOUGHT, ask=False).rpartition(reply)
    except FAILURES:
        return ""
    return before.rpartition(_THOUGHT)[2] if _THOUGHT in before else ""


def _stripped(probe: Probe) -> str | None:
    """The text before an earlier reply whose thought the template removes; None where it stays."""
    user, (_, answer), later = _turns(2)
    reply = f"<think>\n{_THOUGHT}\n</think>\n\n{answer}"
    try:
        text = probe.render([user, ("assistant", reply), later])
    except FAILURES:
        return None
    before, found, _ = text.partition(answer)
    return None if _THOUGHT in text or not found else before.rpartition(user[1])[2]


def _history_notes(probe: Probe, system: tuple[str, str] | None) -> Iterator[str]:
    """Notes on how the template renders earlier turns, which here stay as they were."""
    turns = _turns(2)
    try:
        if system is not None:
            whole = probe.render([("system", _SYSTEM), *turns])
            if not whole.startswith(f"{system[0]}{_SYSTEM}{system[1]}{turns[0][1]}"):
                yield (
                    "The chat template moves the system prompt in longer conversations: here it "
                    "stays where it was."
                )
    except FAILURES:
        return


def _unasked(bare: str, system: tuple[str, str] | None) -> str:
    """The system message that the template inserts where a conversation has none; or ""."""
    if system is None or not (system[0].strip() or system[1].strip()):
        return ""
    opening, between = system
    if bare.startswith(opening) and bare.endswith(between):
        return bare[len(opening) : len(bare) - len(between)].strip()
    return ""


def _system_notes(template: str, bare: str, system: tuple[str, str] | None) -> Iterator[str]:
    """Notes on the system message, and on what the template writes by itself."""
    if system is None:
        yield "The chat template has no system role: it opens the first user message."
    if unasked := _unasked(bare, system):
        yield f"Without a system prompt the chat template inserts its own: '{unasked}'"
    if "strftime_now" in template:
        yield f"The chat template writes the date: it is always {DAY:%d %B %Y}."


def offers_tools(tokenizer: PreTrainedTokenizerBase) -> bool:
    """True if the tokenizer's chat template writes definitions and results of tools."""
    template, _ = _template_of(tokenizer, PROBED)
    return takes_tools(Probe(tokenizer, template, tools=PROBED))


def _template_of(tokenizer: PreTrainedTokenizerBase, tools: Tools) -> tuple[str, list[str]]:
    """The tokenizer's template, or the plain one with a note."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        default = template.get("default")
        template = template.get("tool_use", default) if tools else default
    if template:
        return str(template), []
    template = PLAIN
    # Only where the tokenizer itself begins texts with it, as the model was trained to see.
    if tokenizer.bos_token and tokenizer("x")["input_ids"][:1] == [tokenizer.bos_token_id]:
        template = "{{ bos_token }}" + template
    return template, ["The model has no chat template: plain 'User:' and 'Assistant:' are used."]


def _switching(tokenizer: PreTrainedTokenizerBase, template: str) -> Render:
    """A rendering of a first prompt, with and without a system message, by variables."""

    def render(variables: Variables) -> str:
        probe, user = Probe(tokenizer, template, variables), ("user", _USER.format(0))
        pieces = []
        for talk in ([user], [("system", _SYSTEM), user]):
            with suppress(*FAILURES):
                pieces.append(probe.render(talk))
        return "\0".join(pieces)

    return render


def _read_turns(probe: Probe) -> tuple[str, str, str, str, bool]:
    """The text before the first message, a reply, an earlier reply and a later message.

    Last, True where every turn is rendered alike, whatever follows.

    Raises:
        ModelError: The template cannot render a user's message.
    """
    try:
        bare, ask = probe.around(_turns(1))
        first, history, bridge, asked = probe.around(_turns(2))
        # Three turns show whether an earlier reply is rendered like the last one.
        longer = probe.around(_turns(3))
    except FAILURES as error:
        raise ModelError(
            f"The model's chat template cannot render user and assistant in turn ({error}): "
            "choose an instruction-tuned model with a text template."
        ) from error
    alike = longer == [first, history, bridge, history, bridge, asked]
    return bare, ask, history, bridge, alike and (first, asked) == (bare, ask)


def _past_notes(stripped: bool, strips: bool, thinking_model: bool) -> Iterator[str]:
    """Notes on the thoughts of earlier replies: whether template and rendering remove them."""
    if strips:
        yield "Earlier replies are shown without their thoughts, as the chat template does."
    elif stripped:
        yield "The chat template removes thoughts from earlier replies: here they stay, as sampled."
    elif thinking_model:
        yield "Earlier replies keep their thoughts, as in the chat template."


def read_template(
    tokenizer: PreTrainedTokenizerBase, thinking: Thinking = "default", tools: Tools = ()
) -> ChatTemplate:
    """Extract the fixed text of the tokenizer's chat template, in which `tools` are offered.

    Raises:
        ModelError: The template cannot render a user's message.
        UsageError: It has no switch for the thinking that was asked for.
    """
    template, notes = _template_of(tokenizer, tools)
    render = _switching(tokenizer, template)
    switch = find_switch(render)
    variables = switched(thinking, switch)
    notes += [f"Thinking is {thinking}: {name} of the chat template is set." for name in variables]
    probe = Probe(tokenizer, template, variables, tools)
    bare, ask, history, bridge, regular = _read_turns(probe)
    stable, stripped = regular and history == ask, _stripped(probe)
    strips = regular and stripped is not None and stripped.startswith(history)
    thinking_model = thinks(template, ask, switch, render, variables)
    notes += _past_notes(stripped is not None, strips, thinking_model)
    if not stable and not strips:
        notes.append(
            "The chat template changes earlier turns: append-only rendering is used instead."
        )
    system = _system(probe)
    opening, between = system if system else (None, None)
    notes += [*_system_notes(template, bare, system), *_history_notes(probe, system)]
    # Contents are encoded apart from the template, so a template that strips them is imitated.
    padded = f" {_USER.format(0)} "
    trims = padded not in probe.render([("user", padded)])
    facts = [template, opening, between, bare, ask, bridge, trims, stable]
    # Source and renderings: a new release of jinja2 may change the latter alone.
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    kind = ["append-only"] * (not stable and not strips) + ["system in user"] * (system is None)
    return ChatTemplate(
        opening=opening,
        between=between,
        bare=bare,
        ask=ask,
        bridge=bridge,
        closing=_closing(probe),
        inside=_inside(probe),
        history=history if strips else None,
        lead=(stripped or "").removeprefix(history),
        thinks=thinking_model,
        trims=trims,
        notes=tuple(notes),
        identity=" ".join([f"template:{digest}", *kind, *["thoughts removed"] * strips]),
        tool_turns=read_tool_turns(probe) if tools else None,
    )
