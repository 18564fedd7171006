"""Chat templates of models that think: their switch, and what becomes of earlier thoughts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from harness.errors import UsageError
from harness.settings.model import Thinking
from harness.thoughts import has_mark, opened_thought
from harness.types import Completion, Finish

SWITCHES = ("enable_thinking", "thinking")
"""Variables by which chat templates switch thinking on and off."""
_CLOSED = re.compile(r"(?:</\w+>|\[/THINK\]|◁/think▷)\s*\Z", re.IGNORECASE)

Variables = Mapping[str, bool]
Render = Callable[[Variables], str]
"""A probe's rendering with these variables set; "" where the template cannot."""


def find_switch(render: Render) -> str:
    """The variable that makes a difference in a template; "" where none does."""
    return next((s for s in SWITCHES if render({s: True}) != render({s: False})), "")


def switched(thinking: Thinking, switch: str) -> Variables:
    """The variables that set a template as requested.

    Raises:
        UsageError: Something was requested, and the template has no switch.
    """
    if thinking == "default":
        return {}
    if not switch:
        raise UsageError(
            f"model.thinking={thinking} was asked for, but the model's chat template has no switch "
            f"for it ({' or '.join(SWITCHES)}): leave it out, or choose a model that has one."
        )
    return {switch: thinking == "on"}


def template_options(thinking: Thinking) -> dict[str, Variables]:
    """A request's options for a server's chat template (vLLM, SGLang and others take them)."""
    if thinking == "default":
        return {}
    return {"chat_template_kwargs": dict.fromkeys(SWITCHES, thinking == "on")}


def without_unmarked_thought(said: Completion, thinking: Thinking) -> Completion:
    """A server's completion, as a thought where it is cut off within one that bears no mark.

    The server's template opened it in the prompt, and no parser there told it apart.
    """
    marked = said.reasoning or has_mark(said.text)
    if thinking != "on" or said.finish is Finish.STOP or marked:
        return said
    return replace(said, text="", reasoning=said.text)


def thinks(template: str, ask: str, switch: str, render: Render, variables: Variables) -> bool:
    """True if the model thinks before it answers, as far as its template tells."""
    if opened_thought(ask):
        return True
    # A thought that the prompt opens and closes again is how templates switch thinking off.
    if _CLOSED.search(ask):
        return False
    if switch:
        return render(variables) == render({switch: True})
    return has_mark(template) or "reasoning_content" in template
