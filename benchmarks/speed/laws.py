"""Cost of doubling prompts, samples, tasks, turns and context, each against its scaling law."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.speed.chart import Line, Panel, draw
from benchmarks.speed.race import Contestant, Reading, Row, Sized, Worker, race

SLACK = 1.15  # what a doubling may cost beyond its law before the row says so
Cost = Callable[[Reading], float]


@dataclass(frozen=True)
class Law:
    """A cost, and by how much it may grow when the size doubles."""

    what: str
    cost: Cost
    growth: float
    because: str


@dataclass(frozen=True)
class Doubling:
    """Sizes of one kind, the laws that hold for them, and what was measured, by law and size."""

    name: str
    sizes: Sequence[int]
    laws: Sequence[Law]
    found: dict[str, list[float]] = field(default_factory=dict)


def part(name: str) -> Cost:
    return lambda reading: reading.parts[name]


def whole(reading: Reading) -> float:
    return reading.cpu


def sampled(reading: Reading) -> float:
    """All that the network took."""
    return reading.parts["prefill"] + reading.parts["decode"]


def tokens(reading: Reading) -> float:
    return float(reading.tokens)


READ = "read one by one"
DOUBLINGS = (
    Doubling("prompts", (32, 64, 128, 256), [Law("prefill, CPU s", part("prefill"), 2, READ)]),
    Doubling(
        "samples",
        (4, 8, 16, 32),
        [
            Law("prefill, CPU s", part("prefill"), 1, "a prompt is read once for all of them"),
            Law("decoding, CPU s", part("decode"), 2, "each is written"),
        ],
    ),
    Doubling("tasks", (4, 8, 16, 32), [Law("RL step, CPU s", whole, 2, "sampled, then learnt")]),
    Doubling(
        "turns",
        (2, 4, 8, 16, 32),
        [
            Law("tokens read", tokens, 2, "what was read is kept"),
            Law("tokens an update reads", part("taught"), 2, "what replies share is read once"),
            Law("sampling, CPU s", sampled, 4, "each token attends to all that was said"),
        ],
    ),
    Doubling(
        "context",
        (128, 256, 512, 1024),
        [
            Law("prefill, CPU s", part("prefill"), 4, "each token attends to those before it"),
            Law("decoding, CPU s", part("decode"), 2, "each token attends to the prompt"),
        ],
    ),
)


def contestants(doubling: Doubling, model: str, common: Mapping[str, Any]) -> dict[str, Contestant]:
    """One a size; a training step of each size has a process of its own."""
    if doubling.name == "tasks":
        return {
            str(n): Worker("steps", {**common, "model": model, "method": "rl", "tasks": n})
            for n in doubling.sizes
        }
    task = {**common, "model": model, "law": doubling.name, "sizes": list(doubling.sizes)}
    worker = Worker("growth", task)
    return {str(n): Sized(worker, str(n)) for n in doubling.sizes}


def rows(doubling: Doubling, model: str, found: Mapping[str, Sequence[Reading]]) -> Iterator[Row]:
    """The last doubling of each law, by repeat; the earlier ones in the note."""
    for law in doubling.laws:
        costs = [[law.cost(r) for r in found[str(n)]] for n in doubling.sizes]
        doubling.found[law.what] = middle = [median(c) for c in costs]
        steps = ", ".join(f"{b / a:.2f}" for a, b in itertools.pairwise(middle))
        ratios = [b / a for a, b in zip(costs[-2], costs[-1], strict=True)]
        sizes = f"{doubling.sizes[0]} to {doubling.sizes[-1]}: {steps}"
        what = f"{model}: {doubling.name} ×2, {law.what}"
        yield Row(what, ratios, law.growth * SLACK, True, f"law ×{law.growth:g}; {sizes}")


def laws(model: str, repeats: int, common: Mapping[str, Any], chart: Path | None) -> Iterator[Row]:
    """Measure every doubling in turn; sizes of one kind take turns."""
    for doubling in DOUBLINGS:
        found = race(contestants(doubling, model, common), repeats)
        yield from rows(doubling, model, found)
    if chart:
        chart.write_text(draw([panel(d, law) for d in DOUBLINGS for law in d.laws]))


def panel(doubling: Doubling, law: Law) -> Panel:
    """Measured points and, from the first of them, the law."""
    found = doubling.found[law.what]
    expected = [found[0] * law.growth**i for i in range(len(found))]
    lines = [Line("measured", found), Line(f"×{law.growth:g} at most", expected, dashed=True)]
    return Panel(f"{doubling.name}: {law.what}", law.because, doubling.sizes, lines)


def measurements(doublings: Sequence[Doubling] = DOUBLINGS) -> list[dict[str, Any]]:
    """All measurements, for the JSON file."""
    return [
        {key: value for key, value in asdict(d).items() if key != "laws"}
        for d in doublings
        if d.found
    ]
