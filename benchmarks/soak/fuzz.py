"""Millions of hostile inputs for every parser and every pipe between programs.

`count` inputs in all. The targets of `benchmarks.fuzz` take turns of equal time until that number
is reached, so slow parsers get fewer inputs.
"""

import sys
from pathlib import Path

from benchmarks.fuzz import Fuzzer
from benchmarks.fuzz_targets import TARGETS
from benchmarks.soak._frame import Found

COUNT = 3_000_000  # inputs
DEADLINE = 20.0  # seconds one input may take on a busy machine
_TURN = 5.0  # seconds


def soak(seed: int, count: int, folder: Path) -> Found:
    """Turn after turn until there were `count` inputs; a short version takes short turns."""
    turn = _TURN if count >= COUNT // 10 else _TURN / 50
    fuzzers = [Fuzzer(name, seed, DEADLINE) for name in TARGETS]
    while sum(one.done for one in fuzzers) < count:
        for one in fuzzers:
            one.go(turn)
        done, found = sum(f.done for f in fuzzers), sum(len(f.found) for f in fuzzers)
        print(f"{done:,} inputs, {found} findings", file=sys.stderr, flush=True)
    figures: dict[str, int | float | str] = {"inputs": sum(one.done for one in fuzzers)}
    figures |= {f"inputs of {one.name}": one.done for one in fuzzers}
    figures |= {f"slowest of {one.name}, seconds": round(one.slowest, 2) for one in fuzzers}
    failures = [
        f"{one.name}: {problem} at {text[:200]!r}"
        for one in fuzzers
        for problem, text in one.found.items()
    ]
    return Found(figures, tuple(failures))
