"""Time to build, open and query the index of the search environments, by number of passages.

    python benchmarks/retrieval.py                       10,000 and 100,000 passages
    python benchmarks/retrieval.py --passages 1000000    as many as memory allows

Passages are synthetic: 60 words each, drawn from 200,000 by Zipf's law. Queries have five of the
words of one passage. "build" is words, index and writing; "open" is the time of a second process,
including the check of every file's hash. If the CPU seconds are far below the seconds,
other programs used the machine. The index goes to a temporary folder.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from envs.search.corpus import Corpus, Passage
from envs.search.disk_cache import cache_root
from envs.search.retrieval import BM25

WORDS = 60
VOCABULARY = 200_000
QUERIES = 200


def made(count: int, rng: np.random.Generator) -> Corpus:
    """`count` passages of WORDS words."""
    spelled = np.array([f"w{n:x}" for n in range(VOCABULARY)])
    shares = 1 / np.arange(1, VOCABULARY + 1)
    ends = np.cumsum(shares / shares.sum())
    passages = []
    for start in range(0, count, 10_000):
        rows = min(10_000, count - start)
        drawn = np.searchsorted(ends, rng.random((rows, WORDS)))
        drawn = np.minimum(drawn, VOCABULARY - 1)
        for row, words in enumerate(spelled[drawn]):
            number = start + row
            passages.append(Passage(str(number), f"title {number}", " ".join(words)))
    return Corpus(passages)


def timed(act: Callable[[], BM25]) -> tuple[float, BM25]:
    """Seconds, and what was made."""
    began = time.perf_counter()
    result = act()
    return time.perf_counter() - began, result


def row(count: int) -> list[str]:
    """The figures for one number of passages."""
    rng = np.random.default_rng(count)
    corpus = made(count, rng)
    began = time.perf_counter()
    assert corpus.fingerprint
    hashed = time.perf_counter() - began
    worked = time.process_time()
    build, _ = timed(lambda: BM25(corpus))
    worked = time.process_time() - worked
    opened, index = timed(lambda: BM25(corpus))
    times = []
    for _ in range(QUERIES):
        passage = corpus.passages[int(rng.integers(count))]
        query = " ".join(rng.choice(passage.text.split(), 5, replace=False))
        began = time.perf_counter()
        index.search(query, 3)
        times.append((time.perf_counter() - began) * 1000)
    on_disk = sum(f.stat().st_size for f in cache_root().rglob("*") if f.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return [
        f"{count:,}",
        f"{hashed:.1f}",
        f"{build:.1f}",
        f"{worked:.1f}",
        f"{opened:.2f}",
        f"{statistics.median(times):.2f}",
        f"{sorted(times)[int(0.95 * QUERIES)]:.2f}",
        f"{on_disk / 1e6:.0f}",
        f"{peak / 1e6:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--passages", type=int, nargs="+", default=[10_000, 100_000])
    table = Table(title="BM25 over made-up passages of 60 words, one process")
    for title in (
        "passages",
        "hash s",
        "build s",
        "of it CPU",
        "open s",
        "query ms",
        "95 % ms",
        "disk MB",
        "peak GB",
    ):
        table.add_column(title, justify="right")
    for count in sorted(parser.parse_args().passages):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = str(Path(folder))
            table.add_row(*row(count))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
