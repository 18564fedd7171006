r"""The answer that a reply states, and what may be wrapped around it.

A reply states its answer on the first line after its last "Answer:", in emphasis or not. Without
that word the whole reply is the answer. Thoughts are no part of a reply.
"""

import re

from envs.grading.boxed_answer import last_boxed
from envs.grading.thoughts import answer_part

READ = 4000  # characters at the end of a reply that are searched
LONGEST_STATED = 200  # characters: a longer answer lists guesses
_ANSWER = re.compile(r"answer[ \t]{0,4}[*_`]{0,3}[ \t]{0,4}[:：][*_`]{0,3}", re.IGNORECASE)
_PAIRS = (("**", "**"), ("__", "__"), ("*", "*"), ("_", "_"), ("`", "`"), ("$$", "$$"), ("$", "$"),
          ("\\(", "\\)"), ("\\[", "\\]"), ('"', '"'), ("“", "”"), ("'", "'"), ("‘", "’"),
          ("[", "]"), ("「", "」"))  # fmt: skip
_COMMANDS = re.compile(r"\\(?:boxed|fbox|text|textbf|textit|mathrm|mathbf|boldsymbol)[ ]?\{")
_MOST_WRAPPERS = 8


def stated(reply: str) -> str:
    """The answer a reply states, as it was written; "" where it states none."""
    said = answer_part(reply)
    end = said[-READ:]
    marks = list(_ANSWER.finditer(end))
    if not marks:
        return said.strip() if len(said) <= READ else ""
    lines = end[marks[-1].end() :].lstrip(" \t\r\n").splitlines()
    if not lines:
        return ""
    line = lines[0].strip()
    opened = end[: marks[-1].start()].rpartition("\n")[2].strip()
    for sign in ("**", "__", "*", "_"):  # **Answer: B** is in emphasis as a whole
        if opened.endswith(sign) and line.endswith(sign) and not line.startswith(sign):
            return line.removesuffix(sign).rstrip()
    return line


def stated_or_end(reply: str) -> str:
    """The stated answer; without the word "Answer:" in it, the end of a long reply."""
    said = answer_part(reply)[-READ:]
    return stated(reply) if _ANSWER.search(said) else said.strip()


def wrappings(text: str) -> list[str]:
    """A text, and what is left of it as emphasis, quotes, dollars and boxes come off."""
    stages = [text.strip()]
    for _ in range(_MOST_WRAPPERS):
        inner = _inside(stages[-1])
        if inner is None:
            break
        stages.append(inner)
    return stages


def unwrapped(text: str) -> str:
    """A text without the emphasis, quotes, dollars and boxes around all of it."""
    return wrappings(text)[-1]


def _inside(text: str) -> str | None:
    for opened, closed in _PAIRS:
        inner = text[len(opened) : len(text) - len(closed)]
        whole = text.startswith(opened) and text.endswith(closed)
        if whole and len(text) > len(opened) + len(closed) and closed not in inner:
            return inner.strip()
    command = _COMMANDS.match(text)
    if command and text.endswith("}") and _closes_last(text, command.end()):
        return text[command.end() : -1].strip()
    return None


def boxed_or(text: str) -> str:
    """The boxed content of a text, if there is any; the text itself otherwise."""
    return last_boxed(text) or text if "boxed" in text else text


def _closes_last(text: str, start: int) -> bool:
    """True if the brace that was opened before `start` is closed by the last sign."""
    level = 1
    for place in range(start, len(text)):
        level += (text[place] == "{") - (text[place] == "}")
        if level == 0:
            return place == len(text) - 1
    return False
