"""The end of a run at a glance: how each run learnt, and what the best prompt says."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from harness.display.console_text import plain, sparkline
from harness.runs.build import champion_of
from harness.storage.atomic_files import lines
from leaderboards.records.entry import Entry
from leaderboards.stats.scores import result

_PRINCIPLES = 12


def glance(places: Sequence[Path], entries: Sequence[Entry]) -> Iterator[RenderableType]:
    """Learning curves of the runs that played, then the principles of the best that has any."""
    curves = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for place, entry in zip(places, entries, strict=True):
        rewards = _rewards(place)
        if len(rewards) > 1:
            ends = f"{rewards[0]:.2f} → {rewards[-1]:.2f}"
            name = f"{plain(entry.method, 40)} seed {entry.seed}"
            curves.add_row(Text(name), Text(sparkline(rewards)), Text(ends))
    if curves.row_count:
        yield Rule("training reward by round", align="left")
        yield curves
    told = [
        (score, place, entry)
        for place, entry in zip(places, entries, strict=True)
        if entry.prompt.principles and (score := result(entry).score) is not None
    ]
    if told:
        _, place, entry = max(told, key=lambda one: one[0])
        yield Rule(f"what the best prompt says ({entry.method}, seed {entry.seed})", align="left")
        principles = champion_of(place).prompt.principles
        for number, principle in enumerate(principles[:_PRINCIPLES], 1):
            yield Text(f"{number:2d}. {plain(principle, 200)}")
        if len(principles) > _PRINCIPLES:
            yield Text(f"    and {len(principles) - _PRINCIPLES} more: harness show {place}")


def _rewards(place: Path) -> list[float]:
    logged = (cast(Any, line) for _, line in lines(place / "rounds.jsonl"))
    return [float(r["reward"]) for r in logged if r["scores"] and r["reward"] is not None]
