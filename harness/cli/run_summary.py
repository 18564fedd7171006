"""Summary at the end of runs: learning curves, and the principles of the best prompt."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from harness.display.console_text import plain, sparkline
from harness.storage.atomic_files import lines
from harness.storage.final_agent import final_agent_of
from leaderboards.records.entry import Entry
from leaderboards.stats.scores import result

_PRINCIPLES = 12


def run_summary(run_dirs: Sequence[Path], entries: Sequence[Entry]) -> Iterator[RenderableType]:
    """Learning curves of runs that trained, then the principles of the best prompt."""
    curves = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for run_dir, entry in zip(run_dirs, entries, strict=True):
        rewards = _rewards(run_dir)
        if len(rewards) > 1:
            ends = f"{rewards[0]:.2f} → {rewards[-1]:.2f}"
            name = f"{plain(entry.method, 40)} seed {entry.seed}"
            curves.add_row(Text(name), Text(sparkline(rewards)), Text(ends))
    if curves.row_count:
        yield Rule("training reward by iteration", align="left")
        yield curves
    with_principles = [
        (score, run_dir, entry)
        for run_dir, entry in zip(run_dirs, entries, strict=True)
        if entry.prompt.principles and (score := result(entry).score) is not None
    ]
    if with_principles:
        _, run_dir, entry = max(with_principles, key=lambda one: one[0])
        yield Rule(
            f"principles of the best prompt ({entry.method}, seed {entry.seed})", align="left"
        )
        principles = final_agent_of(run_dir).prompt.principles
        for number, principle in enumerate(principles[:_PRINCIPLES], 1):
            yield Text(f"{number:2d}. {plain(principle, 200)}")
        if len(principles) > _PRINCIPLES:
            yield Text(f"    and {len(principles) - _PRINCIPLES} more: harness show {run_dir}")


def _rewards(run_dir: Path) -> list[float]:
    logged = (cast(Any, line) for _, line in lines(run_dir / "rounds.jsonl"))
    return [float(r["reward"]) for r in logged if r["scores"] and r["reward"] is not None]
