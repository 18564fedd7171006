"""`harness plan`: predicted cost of a run, and the smallest difference that it could show."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from harness.cli.arguments import Arguments
from harness.cli.commands.run import request_from
from harness.display.console_text import pipe_safe, plain
from harness.display.safe_console import SafeConsole
from harness.runs.analysis.memory import memory_lines
from harness.runs.analysis.planning import Planned, PlannedCost, plan, total
from harness.runs.analysis.prices import (
    read_prices,
    sentences,
)
from harness.runs.checks.lengths import length_lines
from harness.runs.resolve import resolve
from harness.runs.results.select_rows import search_paths
from leaderboards.boards.formatting import count, counted, percent


def main(arguments: Arguments) -> int:
    """Print the prediction; the exit code is always 0, because nothing was run."""
    resolved = resolve(request_from(arguments, arguments.method), opens=False)
    notes = (*resolved.notes, *length_lines(resolved.configs))
    prices = read_prices(arguments.prices, resolved.configs[0].model_url)
    planned = plan(resolved.configs, search_paths(arguments.known), arguments.effect, prices)
    if arguments.json:
        values = {**asdict(planned), "evaluation_share": planned.evaluation_share}
        print(json.dumps({**values, "notes": list(notes)}))
        return 0
    _say(planned, notes)
    return 0


def _say(planned: Planned, notes: Sequence[str]) -> None:
    console = pipe_safe(SafeConsole())
    for note in notes:
        console.print(plain(note, 1000), highlight=False)
    console.print(Text(f"{planned.env} · {plain(planned.model, 100)}", style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    heads = ("method", "runs", "episodes", "tests", "rollout tokens", "reflection", "evaluation")
    for head in (*heads, "time", "disk"):
        table.add_column(head, justify="left" if head == "method" else "right")
    for cost in planned.costs:
        table.add_row(*_row(cost))
    if len(planned.costs) > 1:
        table.add_row(*_row(total(planned.costs)))
    console.print(table)
    console.print(f"evaluation takes {percent(planned.evaluation_share)} of all sampled tokens")
    for cost in planned.costs:
        if cost.training_seconds:
            updates = f"of its time, updates take about {duration(cost.training_seconds)}"
            console.print(Text(f"· {cost.method}: {updates}"))
    for basis in dict.fromkeys(c.basis for c in planned.costs):
        methods = ", ".join(c.method for c in planned.costs if c.basis == basis)
        console.print(Text(f"· {methods}: {basis}"))
    for line in (
        *memory_lines(planned.memory),
        *sentences(planned.model, planned.money, planned.prices),
        *_power(planned),
    ):
        console.print(Text(line))
    for warning in planned.warnings:
        console.print(Text(f"! {warning}", style="yellow"))


def _row(cost: PlannedCost) -> list[str]:
    return [
        cost.method,
        str(cost.runs),
        f"{cost.training_episodes:,}",
        f"{cost.test_episodes:,}",
        count(cost.acting_tokens),
        count(cost.reflection_tokens),
        count(cost.evaluation_tokens),
        "unknown" if cost.seconds is None else duration(cost.seconds),
        f"{count(cost.disk)}B",
    ]


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is short."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _power(planned: Planned) -> Iterator[str]:
    design, spread = planned.design, planned.spread
    yield (
        f"the smallest difference found in 80 % of experiments with "
        f"{counted(design.tasks, 'task')} × {counted(design.samples, 'sample')} × "
        f"{counted(design.seeds, 'seed')}, at 5 % over "
        f"{counted(planned.contrasts, 'contrast')} (Holm):"
    )
    found = planned.smallest
    for name, unit, units, option, least in (
        ("methods", "training seeds", design.seeds, "--seeds", found.method),
        ("agents", "tasks", design.tasks, "--test-tasks", found.agent),
    ):
        text = "above 100 points" if least is None else f"{100 * least:.1f} points"
        if units < 2:
            text = f"not estimable with {units}; give {option} two or more"
        yield f"  between {name} ({unit} are the unit): {text}"
    yield (
        f"  spread {planned.spread_basis}: {100 * spread.seed:.1f} points over seeds, "
        f"{100 * spread.task:.1f} over tasks, variance {spread.sample:.3f} within a task"
    )
