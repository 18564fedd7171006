"""The answer part of a completion: what is left of it without the model's thoughts.

Thoughts stand between marks that model families agree on. A thought that is not closed goes on to
the end; where a closing mark stands without an opening one, the opening one was in the prompt.
"""

import re

_MARK = re.compile(
    r"<(/?)(?:think|thinking|thought|reasoning|seed:think)>|\[(/?)THINK\]"
    r"|<\|channel\|>(analysis|commentary|final)<\|message\|>|◁(/?)think▷",
    re.IGNORECASE,
)


def answer_part(completion: str) -> str:
    """The completion without its thoughts."""
    if "<" not in completion and "[" not in completion and "◁" not in completion:
        return completion
    kept: list[str] = []
    start, thinking = 0, False
    for mark in _MARK.finditer(completion):
        channel = (mark[3] or "").lower()
        closes = channel == "final" or "/" in (mark[1] or "", mark[2] or "", mark[4] or "")
        if closes and not thinking:
            kept.clear()  # all that came before was thought
        elif not thinking:
            kept.append(completion[start : mark.start()])
        start, thinking = mark.end(), not closes
    if not thinking:
        kept.append(completion[start:])
    return "".join(kept)
