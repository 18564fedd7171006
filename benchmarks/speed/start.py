"""Start-up time of commands beyond `python -c pass`, and the libraries they load."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.speed.race import HOME, Row

MOST = 0.5  # seconds more than Python itself
HEAVY = ("torch", "transformers", "peft", "vllm", "ray", "docker")
BOARD = HOME / "leaderboards/results/40dda48f240e"  # published runs of several methods
CHOSEN = ("base-seed1000-*", "base-seed1001-*", "espl-seed1000-*", "espl-seed1001-*")


def commands(folder: Path) -> Mapping[str, Sequence[str]]:
    """The commands: on four published runs, and on their whole leaderboard."""
    for name in CHOSEN:
        shutil.copy(next(BOARD.glob(name)), folder)
    harness = ("-m", "harness")
    named = {"python -c pass": ("-c", "pass"), "harness --help": (*harness, "--help")}
    for place in (folder, BOARD):
        runs = f"{len(list(place.glob('*.entry.json')))} runs"
        named[f"harness leaderboard, {runs}"] = (*harness, "leaderboard", str(place))
        between = ("base", "espl", "--in", str(place))
        named[f"harness compare, {runs}"] = (*harness, "compare", *between)
    return named


def run(arguments: Sequence[str]) -> tuple[float, float]:
    """Seconds of CPU and by the clock that one start takes.

    Raises:
        SystemExit: It failed.
    """
    # As where people start it: Python keeps what it compiled, here in the turn that is not counted.
    around = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=HOME,
        env=around,
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-500:]}"
        )
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall


def loaded(arguments: Sequence[str]) -> list[str]:
    """Heavy libraries that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=HOME,
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    return [name for name in HEAVY if name in names]


def start(repeats: int) -> Iterator[Row]:
    """Each command in turn, `repeats` times after one that fills the file cache."""
    with tempfile.TemporaryDirectory() as folder:
        yield from started(commands(Path(folder)), repeats)


def started(named: Mapping[str, Sequence[str]], repeats: int) -> Iterator[Row]:
    """Rows of all but `python -c pass`, which is what they are compared with."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in named}
    for turn in range(repeats + 1):
        for name, arguments in named.items():
            spent = run(arguments)
            if turn:
                found[name].append(spent)
    bare = found.pop("python -c pass")
    for name, times in found.items():
        more = [cpu - least for (cpu, _), (least, _) in zip(times, bare, strict=True)]
        clock = median(b - a for (_, b), (_, a) in zip(times, bare, strict=True))
        heavy = loaded(named[name])
        note = f"by the clock {clock:.2f} s; loads {', '.join(heavy) or 'nothing heavy'}"
        limit = MOST if not heavy else 0.0
        yield Row(f"{name}: CPU s beyond python -c pass", more, limit, True, note)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for row in start(5):
        print(row)
