"""Every causal architecture of transformers, tiny: right or refused (benchmarks/models).

`count` of them are taken, evenly spread, beginning with the seed.
"""

from pathlib import Path

from benchmarks.models.__main__ import every_kind
from benchmarks.models.families import examine
from benchmarks.soak._frame import Found

COUNT = 178


def soak(seed: int, count: int, folder: Path) -> Found:
    kinds = every_kind()
    step = max(1, len(kinds) // count)
    chosen = [kinds[(seed + i * step) % len(kinds)] for i in range(min(count, len(kinds)))]
    results = []
    for kind in chosen:
        (folder / kind).mkdir()
        results.append(examine(kind, folder / kind))
    outcomes = [r.outcome for r in results]
    figures: dict[str, int | float | str] = {
        name: outcomes.count(name) for name in sorted(set(outcomes))
    }
    failures = [f"{r.kind}: {r.reason}" for r in results if r.outcome == "wrong"]
    return Found(figures, tuple(failures))
