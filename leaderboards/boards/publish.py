"""Publishing: entries are copied beside the others, whole or not at all.

Refused are entries of uncommitted or unknown code, of a training run that is published already, and
whatever the caller found wrong with the run they came from. Unknown fields never get this far: the
reader refuses them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leaderboards.boards.manifest import write_manifest
from leaderboards.records.entry import Entry
from leaderboards.records.store import find_entries, write_entry
from leaderboards.records.strict_json import RecordError, canonical


@dataclass(frozen=True, slots=True)
class Added:
    """Where an entry is now, and whether it was there before."""

    path: Path
    entry: Entry
    before: bool


def refusal(entry: Entry, published: Sequence[Entry]) -> str:
    """Why an entry is not published; "" where it is."""
    made = entry.provenance
    if made.dirty:
        return "was made by uncommitted code, which nobody can run again; commit, and run it again"
    if not made.commit:
        return "names no commit, so nobody can run it again; run it from a checkout"
    for other in published:
        if entry.id != other.id and _same_run(entry, other):
            return (
                f"is a second run of {entry.method} with seed {entry.seed} on track "
                f"{entry.track.id} (the first is {other.id}); which of two runs counts is not "
                "chosen after test was opened, so take another seed"
            )
    return ""


def _same_run(one: Entry, other: Entry) -> bool:
    return (
        one.track == other.track
        and one.method == other.method
        and one.seed == other.seed
        and canonical(one.row_config) == canonical(other.row_config)
    )


def add(entries: Sequence[tuple[str, Entry]], folder: Path) -> list[Added]:
    """Copy entries, each with the name it was given by, into a folder; then write its manifest.

    Nothing is copied unless everything can be.

    Raises:
        RecordError: naming the entry that is refused, or a published file that is no entry.
    """
    found = find_entries([folder] if folder.exists() else [])
    if found.problems:
        raise RecordError(
            f"holds a file that is no entry ({found.problems[0]})", source=str(folder)
        )
    there = {s.entry.id: s.path for s in found.stored}
    published = list(found.entries)
    for name, entry in entries:
        if problem := refusal(entry, published):
            raise RecordError(problem, source=name)
        published.append(entry)
    made = []
    for _, entry in entries:
        before = entry.id in there
        path = there.get(entry.id) or write_entry(folder / place(entry), entry)
        there[entry.id] = path
        made.append(Added(path, entry, before))
    write_manifest(folder)
    return made


def place(entry: Entry) -> Path:
    """Where an entry lies in a folder of published ones: a folder a Track, a file a run."""
    method = re.sub(r"[^A-Za-z0-9_-]+", "-", entry.method)[:40]
    return Path(entry.track.id) / f"{method}-seed{entry.seed}-{entry.id[:8]}.entry.json"
