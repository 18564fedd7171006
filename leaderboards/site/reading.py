"""Compact entries for a site: checked in full, then kept without their completions.

Leaderboards need outcomes but no completions, and ten thousand entries with completions fill the
memory of a machine. So one process reads and checks a file and writes its page, and returns the
compact form. The reader is the strict one; no check is skipped for speed.
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
class CompactEntry:
    """An entry to send between processes: its fields, and its outcomes as plain tuples."""

    id: str
    rest: Mapping[str, Any]
    outcomes: tuple[tuple[Any, ...], ...]
    curve: PlotCurve | None


def identity(entry: Entry) -> tuple[str, str]:
    """`entry.id` and the canonical text of the outcomes, which is most of what it hashes.

    Ten times as fast as `entry.id`: the text is made once for the id and the page, and the parts
    that many outcomes share are made once for all of them.
    """
    texts = (f'{{"reply":{_quoted(o.reply)},{_but_reply(*_kept(o))}}}' for o in entry.outcomes)
    outcomes = f"[{','.join(texts)}]"
    fields = {name: canonical(value) for name, value in entry.content(but="outcomes").items()}
    # Sorted as `canonical` sorts keys: the text must be the one that `entry.id` hashes.
    parts = (f'"{name}":{text}' for name, text in sorted({**fields, "outcomes": outcomes}.items()))
    return sha256(f"{{{','.join(parts)}}}".encode()).hexdigest()[:16], outcomes


def _quoted(reply: str | tuple[str, ...] | None) -> str:
    if isinstance(reply, tuple):
        return f"[{','.join(map(encode_basestring_ascii, reply))}]"
    return "null" if reply is None else encode_basestring_ascii(reply)


# typed, because 1, 1.0 and True are equal as keys and differ in JSON.
@lru_cache(maxsize=1 << 16, typed=True)
def _but_reply(*values: Any) -> str:
    """An outcome's other members; "reply" sorts before all of them."""
    return canonical(dict(zip(_KEPT, values, strict=True)))[1:-1]


def compact(entry: Entry, id: str, curve: PlotCurve | None) -> CompactEntry:
    """The compact form of an entry: without completions, and quick to send."""
    rest = {f.name: getattr(entry, f.name) for f in dataclasses.fields(entry)}
    del rest["outcomes"]
    # Their pages are written already, and leaderboards do not read them.
    rest |= dict.fromkeys(("learning_curve", "population", "task_texts"), ())
    outcomes = tuple(map(_kept, entry.outcomes))
    return CompactEntry(id, rest, outcomes, curve)


def restore(sent: CompactEntry) -> Entry:
    """The entry without completions, under the id that it has with them.

    The constructor is bypassed: the entry was checked when it was read, and its id is the hash of
    content that is no longer here.
    """
    entry = object.__new__(Entry)
    entry.__dict__.update(sent.rest)
    entry.__dict__["outcomes"] = tuple(_outcome(*values) for values in sent.outcomes)
    entry.__dict__["id"] = sent.id
    return entry


@cache
def _outcome(*values: Any) -> Outcome:
    """One object for all equal outcomes: thousands of runs are tested on the same tasks."""
    return Outcome(**dict(zip(_KEPT, values, strict=True)))
