"""Contestants in processes of their own, run in turn, and the ratios between them.

A worker prints `ready` once, then does one unit of work for each line it reads and answers with a
`Reading`. Turns are interleaved, so other load on the machine affects all contestants alike. CPU
seconds measure the work; on a shared machine wall-clock seconds also measure the other load.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

HOME = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Reading:
    """One unit of work: seconds by the clock and of CPU, what was produced, and the peak so far.

    `parts` splits the CPU seconds where the worker can tell.
    """

    wall: float
    cpu: float
    tokens: int = 0
    peak_mb: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)


class Line:
    """A worker's end of the conversation. Everything else it prints goes to standard error."""

    def __init__(self) -> None:
        self._out: TextIO = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def say(self, **facts: Any) -> None:
        self._out.write(json.dumps(facts) + "\n")
        self._out.flush()

    def wait(self) -> str:
        """Until the next turn: the word it was asked with, empty when there is none."""
        return sys.stdin.readline().strip()

    def start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self, tokens: int = 0, parts: Mapping[str, float] | None = None) -> None:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.say(**asdict(Reading(wall, cpu, tokens, peak, parts or {})))


def serve(work: Callable[[], tuple[int, Mapping[str, float]]], **facts: Any) -> None:
    """Answer turn after turn with `work`, which returns tokens and parts."""
    line = Line()
    line.say(**facts)
    while line.wait():
        line.start()
        line.stop(*work())


def serve_sizes(works: Mapping[str, Callable[[], tuple[int, Mapping[str, float]]]]) -> None:
    """The same for one worker that has several works: each turn names one."""
    line = Line()
    line.say()
    while word := line.wait():
        line.start()
        line.stop(*works[word]())


class Contestant(Protocol):
    """Anything that takes turns in a race."""

    def turn(self) -> Reading:
        """One unit of its work."""
        ...

    def close(self) -> None:
        """No more turns."""
        ...


class Worker:
    """The parent's end: a module of this folder, started with its task as JSON."""

    def __init__(
        self,
        module: str,
        task: Mapping[str, Any],
        python: str = sys.executable,
        first: Any = None,
    ) -> None:
        paths = [str(HOME), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(p for p in paths if p),
            "OMP_NUM_THREADS": str(task.get("threads", 1)),
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._process = subprocess.Popen(
            [python, "-m", f"benchmarks.speed.{module}", json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("BENCH_LOUD") else None,
            text=True,
            cwd=HOME,
            env=environment,
        )
        if first is not None:
            self._write(json.dumps(first))
        self.facts = self._hear()

    def _write(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        heard = self._process.stdout.readline()
        if not heard:
            raise SystemExit(
                f"{self._process.args[2]!r} ended without an answer; "  # type: ignore[index]
                "BENCH_LOUD=1 shows what it said."
            )
        return dict(json.loads(heard))

    def turn(self, word: str = "go") -> Reading:
        self._write(word)
        return Reading(**self._hear())

    def close(self) -> None:
        if self._process.stdin is None:  # of several works' worker, closed already
            return
        self._process.stdin.close()
        self._process.stdin = None
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()


@dataclass(frozen=True)
class Sized:
    """One of the works of a worker that has several."""

    worker: Worker
    word: str

    def turn(self) -> Reading:
        return self.worker.turn(self.word)

    def close(self) -> None:
        self.worker.close()


def race(
    workers: Mapping[str, Contestant], repeats: int, warm: int = 1
) -> dict[str, list[Reading]]:
    """`warm` turns each that do not count, then `repeats` rounds of one turn each."""
    found: dict[str, list[Reading]] = {name: [] for name in workers}
    try:
        for turn in range(warm + repeats):
            for name, worker in workers.items():
                reading = worker.turn()
                if turn >= warm:
                    found[name].append(reading)
    finally:
        for worker in workers.values():
            worker.close()
    return found


@dataclass(frozen=True)
class Row:
    """One printed line: a ratio by repeat, with its target ("at least" or "at most")."""

    what: str
    ratios: Sequence[float]
    target: float
    most: bool
    note: str = ""

    @property
    def met(self) -> bool:
        middle = statistics.median(self.ratios)
        return middle <= self.target if self.most else middle >= self.target

    def __str__(self) -> str:
        values = (statistics.median(self.ratios), min(self.ratios), max(self.ratios))
        middle, low, high = (f"{v:,.0f}" if v >= 1000 else f"{v:.2f}" for v in values)
        sign, verdict = "≤" if self.most else "≥", "met" if self.met else "MISSED"
        return (
            f"{self.what:<52} {middle:>6} ({low} to {high})  {sign} {self.target:<5g}"
            f" {verdict:<7} {self.note}"
        )


def ratios(ours: Sequence[Reading], theirs: Sequence[Reading]) -> list[float]:
    """Ratio of their cost to ours by repeat; per token if there are tokens."""
    return [
        (b.cpu / max(1, b.tokens)) / (a.cpu / max(1, a.tokens))
        for a, b in zip(ours, theirs, strict=True)
    ]


def wall(ours: Sequence[Reading], theirs: Sequence[Reading]) -> str:
    middle = statistics.median(b.wall / a.wall for a, b in zip(ours, theirs, strict=True))
    return f"by the clock {middle:.2f}"


def speed(readings: Sequence[Reading]) -> float:
    return statistics.median(r.tokens / r.cpu for r in readings)
