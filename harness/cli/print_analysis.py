"""Analyses of one finished run: opened by what was typed, printed as a table or as JSON."""

import json
from pathlib import Path

from rich.table import Table
from rich.text import Text

from harness.cli.arguments import Arguments
from harness.display.console_text import pipe_safe
from harness.display.safe_console import SafeConsole
from harness.runs.analysis.reevaluation import Analysis, AnalysisResult
from leaderboards.boards import formatting
from leaderboards.stats.factorial import NamedEffect, cell_mean


def open_analysis(run_dir: Path, kind: str, arguments: Arguments) -> Analysis:
    """The analysis of a run, with the split, tasks and samples of its options."""
    console = pipe_safe(SafeConsole(stderr=True, quiet=arguments.json))

    def say(line: str) -> None:
        console.print(line)

    return Analysis(run_dir, kind, arguments.split, arguments.tasks, arguments.samples, say)


def record_and_print(analysis: Analysis, result: AnalysisResult, as_json: bool) -> None:
    """Write the record, then print it: a table for people, or one JSON object."""
    record = analysis.record(result)
    if as_json:
        print(json.dumps({**record, "record": str(analysis.record_path)}))
        return
    console = pipe_safe(SafeConsole())
    console.print(_table(analysis.split, result))
    for effect in result.effects:
        console.print(Text(f"· {effect_line(effect, result.unit)}"))
    several = len(result.effects)
    adjusted = f"; {formatting.adjusted_for(several)}" if several > 1 else ""
    console.print(
        f"this agent: tasks are paired, 95 % intervals{adjusted}; for the method, compare runs"
    )
    console.print(f"written to {analysis.record_path}", highlight=False)


def _table(split: str, result: AnalysisResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in (f"{split} split", "score", "95 % interval", "unscored"):
        table.add_column(head, justify="left" if head.endswith("split") else "right")
    for one in result.cells:
        value, interval = cell_mean(one.cell, result.unit)
        ends = (interval.low, interval.high) if interval else ()
        shown = "–".join(formatting.number(end, result.unit) for end in ends)
        cells = (formatting.number(value, result.unit), shown or "—", str(one.unscored))
        table.add_row(Text(formatting.plain(one.name, 100)), *cells)
    return table


def effect_line(named: NamedEffect, unit: bool) -> str:
    """One difference in words."""
    effect = named.effect
    name = formatting.plain(named.name, 120)
    if effect.value is None:
        return f"{name}: {effect.reason}"
    text = f"{name}: {formatting.signed(effect.value, unit)}"
    if effect.interval is None:
        return f"{text}, no interval ({effect.reason})"
    low, high = (
        formatting.signed(end, unit) for end in (effect.interval.low, effect.interval.high)
    )
    chance = "" if effect.holm is None else f", p {formatting.p_text(effect.holm)}"
    return f"{text} [{low}, {high}] over {effect.units} tasks{chance}"
