"""Renders conversations of marker words with a chat template, to see what it writes around them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from jinja2 import TemplateError

from harness.errors import ModelError
from harness.policies.chat.thinking import Variables

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tools: TypeAlias = Sequence[Mapping[str, Any]]
"""Definitions of tools, as chat templates take them: each a type and a function."""

# A template's own failures; what it does with a probe is its author's choice.
FAILURES = (
    *(ValueError, TypeError, LookupError, AttributeError, TemplateError),
    *(ArithmeticError, RecursionError),
)
_LONGEST = 1_000_000  # characters; a probe's contents are a few words
_TOO_MUCH = "The model's chat template writes more text around a message than fits the memory"
_SURROGATE = re.compile("[\ud800-\udfff]")
# Names that templates use for a message's thought.
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")

# Some templates write today's date; a benchmark's prompt must not change overnight.
DAY = datetime(2026, 1, 1)


class Probe:
    """Renders marker conversations with one tokenizer's template, and with tools if there are."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: str,
        variables: Variables | None = None,
        tools: Tools = (),
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._variables = variables or {}
        self._tools = list(tools)

    def render(self, messages: list[tuple[str, str]], thought: str = "", ask: bool = True) -> str:
        """Render messages, the last with a thought, up to the next completion if `ask` is set."""
        talk: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in messages]
        if thought:
            talk[-1] |= dict.fromkeys(_THOUGHT_FIELDS, thought)
        return self.render_all(talk, ask)

    def render_all(self, talk: list[dict[str, Any]], ask: bool = True) -> str:
        """Render messages with all their fields."""
        try:
            return self._apply(talk, ask, self._tools or None)
        except TypeError:
            if self._tools:
                raise
            # A template that goes through the tools without asking if there are any.
            return self._apply(talk, ask, [])

    def _apply(self, talk: list[dict[str, Any]], ask: bool, tools: list[Any] | None) -> str:
        variables: dict[str, Any] = {"strftime_now": DAY.strftime, **self._variables}
        try:
            rendered = str(
                self._tokenizer.apply_chat_template(
                    talk,
                    tools=tools,
                    chat_template=self._template,
                    tokenize=False,
                    add_generation_prompt=ask,
                    **variables,
                )
            )
        except MemoryError as error:
            raise ModelError(f"{_TOO_MUCH}: choose a model with another template.") from error
        if len(rendered) > _LONGEST:
            raise ModelError(f"{_TOO_MUCH}: choose a model with another template.")
        if _SURROGATE.search(rendered):
            raise ModelError(
                "The model's chat template writes half a character (a lone surrogate), for which "
                "there is no token: choose a model with another template."
            )
        return rendered

    def around(self, messages: list[tuple[str, str]]) -> list[str]:
        """The text before, between and after the contents; ValueError where one is missing."""
        pieces, rest = [], self.render(messages)
        for _, content in messages:
            before, found, rest = rest.partition(content)
            if not found or content in rest:
                raise ValueError(f"{content} does not stand once, and in order, in the rendering")
            pieces.append(before)
        return [*pieces, rest]
