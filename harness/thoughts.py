"""Splitting a completion into the model's thought and its answer.

Thoughts stand between marks that model families agree on. A thought that is not closed goes on to
the end; where a closing mark stands without an opening one, the opening one was in the prompt.
`envs.grading.thoughts` reads the same marks for whoever uses an environment without this package;
a test holds the two together.
"""

import re
from dataclasses import dataclass

OPENING = re.compile(
    r"(?:<(?:think|thinking|thought|reasoning|seed:think)>|\[THINK\]|◁think▷)\s*\Z", re.IGNORECASE
)
"""The end of a prompt that opens a thought for the completion to go on with."""

_MARK = re.compile(
    r"<(/?)(?:think|thinking|thought|reasoning|seed:think)>|\[(/?)THINK\]"
    r"|<\|channel\|>(analysis|commentary|final)<\|message\|>|◁(/?)think▷",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class SplitText:
    """Thought and answer of a text; `finished` is False where it ends within a thought."""

    thought: str
    answer: str
    finished: bool


def split_thoughts(text: str) -> SplitText:
    """Tell a text's thoughts from its answer."""
    # Every mark holds one of these; looking for them is cheaper than the expression.
    if "<" not in text and "[" not in text and "◁" not in text:
        return SplitText("", text, True)
    thoughts: list[str] = []
    kept: list[str] = []
    start, thinking = 0, False
    for mark in _MARK.finditer(text):
        channel = (mark[3] or "").lower()
        closes = channel == "final" or "/" in (mark[1] or "", mark[2] or "", mark[4] or "")
        piece = text[start : mark.start()]
        if closes and not thinking:
            thoughts += [*kept, piece]  # all that came before was thought
            kept.clear()
        else:
            (thoughts if thinking else kept).append(piece)
        start, thinking = mark.end(), not closes
    (thoughts if thinking else kept).append(text[start:])
    return SplitText("".join(thoughts), "".join(kept), not thinking)


def opened_thought(prompt_end: str) -> str:
    """The mark at the end of a prompt that opens a thought; "" where there is none."""
    found = OPENING.search(prompt_end)
    return found[0].strip() if found else ""


def has_mark(text: str) -> bool:
    """True if a text holds a mark of thoughts."""
    return _MARK.search(text) is not None


def is_mark(token: str) -> bool:
    """True if a control token marks a thought, or is a part of such a mark."""
    return token in ("<|channel|>", "<|message|>") or _MARK.fullmatch(token) is not None
