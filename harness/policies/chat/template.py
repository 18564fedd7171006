"""Extracts the fixed text around messages from a chat template, by rendering probes.

The template never sees a real message. It renders marker words, and the text between them surrounds
any message of that role. Conversations are then put together append-only: the prompt of a
completion is, token for token, a prefix of the next turn's prompt.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from harness.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SYSTEM, _USER, _REPLY = "MARKSYSTEMMARK", "MARKUSER{}MARK", "MARKREPLY{}MARK"

PLAIN = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant:' + message['content'] + (eos_token or '') + '\\n\\n' }}{% else %}"
    "{{ message['role'] | capitalize + ': ' + message['content'] + '\\n\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""For base models without a template: "User: …", "Assistant: …", a blank line between."""

# Some templates write today's date; a benchmark's prompt must not change overnight.
_DAY = datetime(2026, 1, 1)


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The text around messages; `None` for `opening` and `between` means no system role.

    With a system message: opening, system, between, user, ask. Without: bare, user, ask. Then for
    each further turn: reply, bridge, user, ask.
    """

    opening: str | None
    between: str | None
    bare: str
    ask: str
    bridge: str
    trims: bool
    notes: tuple[str, ...]
    identity: str


class _Probe:
    """Renders marker conversations with one tokenizer's template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str) -> None:
        self._tokenizer = tokenizer
        self._template = template

    def render(self, messages: list[tuple[str, str]]) -> str:
        rendered = self._tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in messages],
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=True,
            strftime_now=_DAY.strftime,
        )
        return str(rendered)

    def around(self, messages: list[tuple[str, str]]) -> list[str]:
        """The text before, between and after the contents; ValueError where one is missing."""
        pieces, rest = [], self.render(messages)
        for _, content in messages:
            before, found, rest = rest.partition(content)
            if not found or content in rest:
                raise ValueError(f"{content} does not stand once, and in order, in the rendering")
            pieces.append(before)
        return [*pieces, rest]


def _turns(count: int) -> list[tuple[str, str]]:
    """User, reply, user, … with `count` user messages."""
    turns = [("user", _USER.format(0))]
    for i in range(1, count):
        turns += [("assistant", _REPLY.format(i)), ("user", _USER.format(i))]
    return turns


def _system(probe: _Probe) -> tuple[str, str] | None:
    """The text before and after a system message; None where the template has no such role."""
    try:
        opening, between, _ = probe.around([("system", _SYSTEM), ("user", _USER.format(0))])
    except (ValueError, TemplateError):
        return None
    return opening, between


def _unasked(bare: str, system: tuple[str, str] | None) -> str:
    """The system message that the template inserts where a conversation has none; or ""."""
    if system is None or not (system[0].strip() or system[1].strip()):
        return ""
    opening, between = system
    if bare.startswith(opening) and bare.endswith(between):
        return bare[len(opening) : len(bare) - len(between)].strip()
    return ""


def read_template(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """Extract the fixed text of the tokenizer's chat template.

    Raises:
        ModelError: The template cannot render a user's message.
    """
    notes = []
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        template = PLAIN
        # Only where the tokenizer itself begins texts with it, as the model was trained to see.
        if tokenizer.bos_token and tokenizer("x")["input_ids"][:1] == [tokenizer.bos_token_id]:
            template = "{{ bos_token }}" + template
        notes.append("The model has no chat template: plain 'User:' and 'Assistant:' are used.")
    probe = _Probe(tokenizer, template)
    try:
        bare, ask = probe.around(_turns(1))
        first, history, bridge, asked = probe.around(_turns(2))
        # Three turns show whether an earlier reply is rendered like the last one.
        longer = probe.around(_turns(3))
    except (ValueError, TemplateError) as error:
        raise ModelError(
            f"The model's chat template cannot render user and assistant in turn ({error}): "
            "choose an instruction-tuned model with a text template."
        ) from error
    stable = (first, history, asked) == (bare, ask, ask)
    stable = stable and longer == [first, history, bridge, history, bridge, asked]
    if not stable:
        notes.append(
            "The chat template changes earlier turns: append-only rendering is used instead."
        )
    system = _system(probe)
    if system is None:
        notes.append("The chat template has no system role: it opens the first user message.")
    if unasked := _unasked(bare, system):
        notes.append(f"Without a system prompt the chat template inserts its own: '{unasked}'")
    if "strftime_now" in template:
        notes.append(f"The chat template writes the date: it is always {_DAY:%d %B %Y}.")
    # Contents are encoded apart from the template, so a template that strips them is imitated.
    padded = probe.render([("user", f" {_USER.format(0)} ")])
    trims = f" {_USER.format(0)} " not in padded
    opening, between = system if system else (None, None)
    facts = [template, opening, between, bare, ask, bridge, trims, stable]
    # Source and renderings: a new release of jinja2 may change the latter alone.
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    kind = ["append-only"] * (not stable) + ["system in user"] * (system is None)
    identity = " ".join([f"template:{digest}", *kind])
    return ChatTemplate(opening, between, bare, ask, bridge, trims, tuple(notes), identity)
