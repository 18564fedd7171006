"""The size of an entry, kept within what is read back."""

from dataclasses import replace

from leaderboards.records.entry import Entry
from leaderboards.records.store import LARGEST
from leaderboards.records.strict_json import canonical


def fitted(entry: Entry, most: int = LARGEST) -> Entry:
    """The entry without its longest completions, where it would be larger than `most` bytes.

    Rewards and counts stay, and a note says how many completions are left out: a run of days must
    not end in an entry that nobody can read.
    """
    size = len(entry.to_json())
    if size <= most:
        return entry
    sizes = [len(canonical(outcome.reply)) for outcome in entry.outcomes]
    dropped: set[int] = set()
    for number in sorted(range(len(sizes)), key=lambda n: -sizes[n]):
        if size <= most - 200:  # the note's own size
            break
        dropped.add(number)
        size -= sizes[number] - len("null")
    outcomes = tuple(
        replace(outcome, reply=None) if number in dropped else outcome
        for number, outcome in enumerate(entry.outcomes)
    )
    left = (
        f"the completions of {len(dropped):,} of {len(sizes):,} outcomes are left out, the longest "
        f"first: an entry takes {most:,} bytes"
    )
    return replace(entry, outcomes=outcomes, notes=(*entry.notes, left))
