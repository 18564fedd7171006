"""`harness curve`: score against budget, and the selected prompt's lead without selection bias."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from harness.cli.arguments import Arguments
from harness.display.console_text import pipe_safe, plain
from harness.display.fitted_table import FittedTable
from harness.display.safe_console import SafeConsole
from harness.errors import UsageError
from harness.runs.analysis.curves import rounds_of, run_dirs_below, selected_advantage
from harness.runs.results.select_rows import say_problems
from leaderboards.boards.formatting import NOTHING, count, counted, number, signed
from leaderboards.records.store import find_entries
from leaderboards.stats.budget_curves import BudgetCurve, curves_of_entries, training_curve
from leaderboards.stats.selection_bias import Advantage


def main(arguments: Arguments) -> int:
    """Print training curves of runs, and test curves where entries have several budgets."""
    missing = [str(path) for path in arguments.paths if not path.exists()]
    if missing:
        raise UsageError(f"{', '.join(missing)} does not exist; name runs, or folders of them.")
    runs = [run_dir for path in arguments.paths for run_dir in run_dirs_below(path)]
    trained = {str(run_dir): rounds_of(run_dir) for run_dir in runs}
    training = {
        name: training_curve(found, arguments.by) for name, found in trained.items() if found
    }
    chosen = {str(run_dir): selected_advantage(run_dir, trained[str(run_dir)]) for run_dir in runs}
    entries = find_entries(arguments.paths)
    say_problems(entries.problems)
    tests = curves_of_entries(entries.entries, arguments.by)
    if not (training or tests):
        raise UsageError("No run has finished a round, and no method has entries at two budgets.")
    if arguments.json:
        values = {
            "by": arguments.by,
            "training": {name: _json(c, arguments.target) for name, c in training.items()},
            "test": {name: _json(c, arguments.target) for name, c in tests.items()},
            "chosen": {name: asdict(a) for name, a in chosen.items() if a},
        }
        print(json.dumps(values, allow_nan=False))
        return 0
    console = pipe_safe(SafeConsole())
    if training:
        console.print(_table("training reward", training, arguments))
    if tests:
        console.print(_table("test score", tests, arguments))
    for name, advantage in chosen.items():
        if advantage:
            console.print(Text(f"· {plain(_short(name), 100)}: {_sentence(advantage)}"))
    return 0


def _short(name: str) -> str:
    """A run by the names of its directory and of the experiment directory above."""
    run_dir = Path(name)
    return "/".join(run_dir.resolve().parts[-2:]) if run_dir.exists() else name


def _json(curve: BudgetCurve, target: float | None) -> dict[str, Any]:
    reached = None if target is None else curve.budget_to_reach(target)
    return {
        "points": curve.points,
        "height": curve.normalised_auc,
        "target": target,
        "reached": reached,
    }


def _table(title: str, curves: Mapping[str, BudgetCurve], arguments: Arguments) -> FittedTable:
    unit = all(0 <= score <= 1 for curve in curves.values() for _, score in curve.points)
    heads = [title, "first", "last", "normalised\nAUC", f"over\n{arguments.by}"]
    rows = []
    if arguments.target is not None:
        heads.append(f"{arguments.by}\nto {number(arguments.target, True)}")
    for name, curve in curves.items():
        scores = [score for _, score in curve.points]
        cells = (
            [number(v, unit) for v in (scores[0], scores[-1], curve.normalised_auc)]
            if scores
            else []
        )
        row = [*(cells or [NOTHING] * 3), count(curve.points[-1][0]) if scores else NOTHING]
        if arguments.target is not None:
            reached = curve.budget_to_reach(arguments.target)
            row.append("never" if reached is None else count(reached))
        rows.append((plain(_short(name), 60), *row))
    return FittedTable(heads, rows)


def _sentence(advantage: Advantage) -> str:
    seen, left = signed(advantage.seen, True), signed(advantage.corrected, True)
    return (
        f"the selected prompt scored {seen} points above its "
        f"{counted(advantage.rivals, 'rival')} over "
        f"{counted(advantage.rounds, 'training iteration')}; {left} after correction for "
        "selection bias (winner's curse)"
    )
