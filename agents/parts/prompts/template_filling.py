"""Filling the templates. Text from models and tasks is joined in, never interpreted, and shortened
in the middle where it does not fit: beginnings say what was tried, endings what came of it.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

_FIELD = re.compile(r"\{\{([a-z_]+)\}\}")


@cache
def template(stage: str, compact: bool) -> str:
    """A stage's question, in its full or compact form."""
    name = f"{stage}_compact.md" if compact else f"{stage}.md"
    return (files("agents.parts") / "templates" / name).read_text(encoding="utf-8").strip()


def write(form: str, fields: Mapping[str, str | Sequence[str]], room: int) -> str:
    """The template with its `{{fields}}` filled, in at most `room` characters if that is possible.

    A field is a text or several, set apart by blank lines. The template is split once, so braces in
    a value stay what they are. A field the template names and the caller does not is a KeyError.
    """
    parts = _FIELD.split(form)  # text, name, text, name, …, text
    named = {name: _pieces(fields[name]) for name in parts[1::2]}
    fixed = sum(map(len, parts[0::2])) + sum(2 * len(p) for p in named.values())
    pieces = [piece for name in named for piece in named[name]]
    limits = iter(shares([len(piece) for piece in pieces], room - fixed))
    filled = {
        name: "\n\n".join(shorten(piece, next(limits)) for piece in named[name]) for name in named
    }
    return "".join(filled[p] if i % 2 else p for i, p in enumerate(parts))


def _pieces(value: str | Sequence[str]) -> Sequence[str]:
    return (value,) if isinstance(value, str) else value


def shares(lengths: Sequence[int], room: int) -> list[int]:
    """How much of each length fits into `room` together: short ones whole, long ones equally."""
    limits = list(lengths)
    left, waiting = room, len(lengths)
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        limits[i] = max(0, min(lengths[i], left // waiting))
        left -= limits[i]
        waiting -= 1
    return limits


def shorten(text: str, limit: int) -> str:
    """The text in at most `limit` characters: two thirds from its head, one from its tail."""
    if len(text) <= limit:
        return text
    mark = " […] "
    if limit <= len(mark):
        return text[:limit]
    tail = (limit - len(mark)) // 3
    return text[: limit - len(mark) - tail] + mark + text[len(text) - tail :]
