"""A guard, not a benchmark (`make bench` is that): sampling stays well ahead of `generate`."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from benchmarks.speed.sampling import generate, open_model, ours
from benchmarks.speed.work import WORKS


def cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def test_sampling_costs_clearly_less_than_transformers_generate() -> None:
    work = replace(WORKS["pocket"], tasks=4, samples=8, limit=32, batch_rows=32, rounds=1)
    task = {"threads": 1, "mixed": True, "chunk": 32}
    mine, theirs = (
        ours(work, task, open_model(work, task)),
        generate(work, task, open_model(work, task)),
    )
    mine(), theirs()
    # CPU seconds of neighbouring turns, so that a busy machine slows both.
    ratios = [cpu(theirs) / cpu(mine) for _ in range(5)]
    assert statistics.median(ratios) > 1.3, ratios
