"""Comparison of runs with the published ones: `python -m benchmarks.reproduced runs/again`.

Each finished run is compared with the published entry of the same training run: same Track, method,
settings and seed. Rewards, completions and prompts are compared exactly. Exit code 1 if any differ.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from leaderboards.records.entry import Entry
from leaderboards.records.store import find_entries
from leaderboards.records.strict_json import canonical

PUBLISHED = Path(__file__).resolve().parents[1] / "leaderboards" / "results"
COMPARED: Mapping[str, Callable[[Entry], object]] = {
    "rewards": lambda e: [(o.task, o.sample, o.status, o.reward) for o in e.outcomes],
    "replies": lambda e: [(o.task, o.sample, o.reply) for o in e.outcomes],
    "prompts": lambda e: e.prompt,
    "adapters": lambda e: e.adapter_hash,
    "tokens": lambda e: (e.spent.acting_tokens, e.spent.reflection_tokens),
}


def differs(here: Entry, there: Entry) -> tuple[str, ...]:
    """Names of what differs between two runs of one request."""
    found = []
    for name, compared in COMPARED.items():
        if compared(here) != compared(there):
            found.append(name)
    return tuple(found)


def key(entry: Entry) -> tuple[str, str, int, str]:
    """Identity of a training run: equal for two entries of the same one."""
    return entry.track.id, entry.method, entry.seed, canonical(entry.row_config)


def main() -> int:
    """Compare, and say what was found by method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--published", type=Path, default=PUBLISHED)
    asked = parser.parse_args()
    there = {key(entry): entry for entry in find_entries([asked.published]).entries}
    found: dict[str, list[tuple[str, ...]]] = {}
    for entry in find_entries(asked.runs).entries:
        if (other := there.get(key(entry))) is not None:
            found.setdefault(entry.method, []).append(differs(entry, other))
    for method, compared in sorted(found.items()):
        same = sum(not names for names in compared)
        print(f"{method}: {same} of {len(compared)} runs are exactly as published")
        for name in sorted({name for names in compared for name in names}):
            print(f"  {name} differ in {sum(name in names for names in compared)}")
    if not found:
        print("no run here repeats a published one")
    return int(any(names for compared in found.values() for names in compared))


if __name__ == "__main__":
    sys.exit(main())
