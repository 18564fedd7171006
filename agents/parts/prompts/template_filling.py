"""Fill the templates of reflection requests.

Text from models and tasks is inserted, never interpreted. Where it does not fit it is shortened in
the middle: beginnings say what was tried, endings what came of it.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

_FIELD = re.compile(r"\{\{([a-z_]+)\}\}")


@cache
def template(stage: str, compact: bool) -> str:
    """The template of a stage, in its full or compact form."""
    name = f"{stage}_compact.md" if compact else f"{stage}.md"
    return (files("agents.parts") / "templates" / name).read_text(encoding="utf-8").strip()


def fill(form: str, fields: Mapping[str, str | Sequence[str]], max_characters: int) -> str:
    """The template with its `{{fields}}` filled, in at most `max_characters` if that is possible.

    A field is one text or several, separated by blank lines. A field that the template names and
    the caller does not give is a KeyError.
    """
    # Split once: braces inside a value are never read as fields.
    parts = _FIELD.split(form)  # text, name, text, name, …, text
    named = {name: _pieces(fields[name]) for name in parts[1::2]}
    # Two characters per piece for the blank lines between pieces.
    fixed = sum(map(len, parts[0::2])) + sum(2 * len(p) for p in named.values())
    pieces = [piece for name in named for piece in named[name]]
    limits = iter(shares([len(piece) for piece in pieces], max_characters - fixed))
    filled = {
        name: "\n\n".join(shorten(piece, next(limits)) for piece in named[name]) for name in named
    }
    return "".join(filled[p] if i % 2 else p for i, p in enumerate(parts))


def _pieces(value: str | Sequence[str]) -> Sequence[str]:
    return (value,) if isinstance(value, str) else value


def shares(lengths: Sequence[int], total: int) -> list[int]:
    """The part of each length that fits into `total`: short ones whole, long ones equally."""
    limits = list(lengths)
    left, waiting = total, len(lengths)
    # From the shortest: what it leaves of its equal share goes to the longer ones.
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
