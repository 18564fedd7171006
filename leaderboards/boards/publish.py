"""Publishing of entries: all of them are copied, or none.

Entries that uncommitted or unknown code computed a part of are refused, and second runs of a
published training run unless the user says so. The caller checks the run directory. Unknown fields
never get this far: the reader refuses them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from leaderboards.boards.manifest import check_replaceable, write_manifest
from leaderboards.records.details import Participant
from leaderboards.records.entry import Entry, Track
from leaderboards.records.store import find_entries, write_entry
from leaderboards.records.strict_json import RecordError, canonical


@dataclass(frozen=True, slots=True)
class Added:
    """The path of a published entry; `before`: it was already there."""

    path: Path
    entry: Entry
    before: bool


def refusal(entry: Entry, published: Sequence[Entry], second_run: bool = False) -> str:
    """The reason that an entry is not published; "" if it is.

    `second_run`: the user publishes a second run of a seed knowingly.
    """
    if any(dirty for _, dirty in entry.code):
        return (
            f"was made by uncommitted code{_part(entry, lambda p: p.dirty)}, which nobody can run "
            "again; commit, and run it again"
        )
    if not all(commit for commit, _ in entry.code):
        return (
            f"names no commit{_part(entry, lambda p: not p.commit)}, so nobody can run it again; "
            "run it from a checkout"
        )
    for other in () if second_run else published:
        if entry.id != other.id and _same_run(entry, other):
            return (
                f"is a second run of {entry.method} with seed {entry.seed} on track "
                f"{entry.track.id} (the first is {other.id}); which of two runs counts is not "
                "chosen after test was opened, so take another seed, or publish it beside the "
                "first with --second-run: the earlier one counts"
            )
    return ""


def _part(entry: Entry, blamed: Callable[[Participant], bool]) -> str:
    """The iterations that a part of the run's code computed, where it was not all of it."""
    starts = [p.iteration for p in entry.participants if blamed(p)]
    if not starts or len(starts) == len(entry.participants):
        return ""
    return f" in a start at iteration {' and '.join(str(n + 1) for n in starts[:5])}"


def _same_run(one: Entry, other: Entry) -> bool:
    return (
        _same_track(one.track, other.track)
        and one.method == other.method
        and one.seed == other.seed
        and canonical(one.row_config) == canonical(other.row_config)
    )


def _same_track(one: Track, other: Track) -> bool:
    """True for Tracks of one leaderboard: an entry may state no model configuration."""
    if not (one.model_configuration and other.model_configuration):
        one = replace(one, model_configuration="")
        other = replace(other, model_configuration="")
    return one == other


def add(
    entries: Sequence[tuple[str, Entry]], folder: Path, second_run: bool = False
) -> list[Added]:
    """Copy entries, given with their names, into a folder; then write its manifest.

    Nothing is copied unless everything can be. `second_run`: see `refusal`.

    Raises:
        RecordError: naming the entry that is refused, a published file that is not an entry, or a
            file beside the folder that would be overwritten.
    """
    check_replaceable(folder)
    found = find_entries([folder] if folder.exists() else [])
    if found.problems:
        raise RecordError(
            f"holds a file that is not an entry ({found.problems[0]})", source=str(folder)
        )
    there = {s.entry.id: s.path for s in found.stored}
    published = list(found.entries)
    for name, entry in entries:
        if problem := refusal(entry, published, second_run):
            raise RecordError(problem, source=name)
        # Two entries of this call may be runs of the same seed themselves.
        published.append(entry)
    made = []
    for _, entry in entries:
        before = entry.id in there
        # An entry that is there already keeps its path: publishing it again changes nothing.
        path = there.get(entry.id) or write_entry(folder / entry_path(entry), entry)
        there[entry.id] = path
        made.append(Added(path, entry, before))
    write_manifest(folder)
    return made


def entry_path(entry: Entry) -> Path:
    """The path of an entry below a folder of published ones: a folder by Track, a file by run."""
    # A method's name may be a stranger's, and here it becomes part of a path.
    method = re.sub(r"[^A-Za-z0-9_-]+", "-", entry.method)[:40]
    return Path(entry.track.id) / f"{method}-seed{entry.seed}-{entry.id[:8]}.entry.json"
