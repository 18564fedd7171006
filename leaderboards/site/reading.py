"""Entries read for a site: checked in full, then kept without what only their own page shows.

A board is made from outcomes; it needs no replies, and ten thousand entries with replies fill a
machine. So each file is read, checked and told to its page by one process, and what comes back is
small. The reader is the strict one; nothing is skipped to be faster.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii
from operator import attrgetter
from typing import Any

from leaderboards.records.entry import Entry, Outcome
from leaderboards.records.strict_json import canonical
from leaderboards.site.plots import PlotCurve

_KEPT = tuple(f.name for f in dataclasses.fields(Outcome) if f.name != "reply")
_kept = attrgetter(*_KEPT)


@dataclass(frozen=True, slots=True)
class Slim:
    """An entry on its way between processes: all but its outcomes, and those as plain tuples."""

    id: str
    rest: Mapping[str, Any]
    outcomes: tuple[tuple[Any, ...], ...]
    curve: PlotCurve | None


def identity(entry: Entry) -> tuple[str, str]:
    """`entry.id` and the canonical text of the outcomes, which is most of what it hashes.

    The same as the entry itself would say, in a tenth of the time: the text is made once for the id
    and for the page, and what many outcomes have in common once for all of them.
    """
    texts = (f'{{"reply":{_quoted(o.reply)},{_but_reply(*_kept(o))}}}' for o in entry.outcomes)
    outcomes = f"[{','.join(texts)}]"
    told = {name: canonical(value) for name, value in entry.content(but="outcomes").items()}
    parts = (f'"{name}":{text}' for name, text in sorted({**told, "outcomes": outcomes}.items()))
    return sha256(f"{{{','.join(parts)}}}".encode()).hexdigest()[:16], outcomes


def _quoted(reply: str | tuple[str, ...] | None) -> str:
    if isinstance(reply, tuple):
        return f"[{','.join(map(encode_basestring_ascii, reply))}]"
    return "null" if reply is None else encode_basestring_ascii(reply)


@lru_cache(maxsize=1 << 16, typed=True)
def _but_reply(*values: Any) -> str:
    """An outcome's other members; "reply" comes before all of them."""
    return canonical(dict(zip(_KEPT, values, strict=True)))[1:-1]


def slim(entry: Entry, id: str, curve: PlotCurve | None) -> Slim:
    """Without replies, and quick to send."""
    rest = {f.name: getattr(entry, f.name) for f in dataclasses.fields(entry)}
    del rest["outcomes"]
    outcomes = tuple(map(_kept, entry.outcomes))
    return Slim(id, rest, outcomes, curve)


def restored(told: Slim) -> Entry:
    """The entry again, without replies, under the id that it has with them.

    It was checked when it was read; checking it again would only find that the replies are gone
    from what its id is the hash of.
    """
    entry = object.__new__(Entry)
    entry.__dict__.update(told.rest)
    entry.__dict__["outcomes"] = tuple(_outcome(*values) for values in told.outcomes)
    entry.__dict__["id"] = told.id
    return entry


@cache
def _outcome(*values: Any) -> Outcome:
    """One object for all outcomes that are alike: thousands of runs play the same tasks."""
    return Outcome(**dict(zip(_KEPT, values, strict=True)))
