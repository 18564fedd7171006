"""`harness curve`: score against budget, and the selected prompt's lead without selection bias."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.display.console_text import pipe_safe, plain
from harness.errors import UsageError
from harness.runs.build import final_agent_of
from harness.runs.request import read_request
from harness.runs.run_dirs import runs_in
from harness.storage.atomic_files import lines
from leaderboards.boards.formatting import NOTHING, count, number, signed
from leaderboards.records.store import find_entries
from leaderboards.stats.budget_curves import BudgetCurve, curves_of_entries, training_curve
from leaderboards.stats.selection_bias import Advantage, advantages


def main(arguments: argparse.Namespace) -> int:
    """Print training curves of runs, and test curves where entries have several budgets."""
    missing = [str(path) for path in arguments.paths if not path.exists()]
    if missing:
        raise UsageError(f"{', '.join(missing)} does not exist; name runs, or folders of them.")
    runs = [run_dir for path in arguments.paths for run_dir in _runs(path)]
    trained = {str(run_dir): _rounds(run_dir) for run_dir in runs}
    training = {
        name: training_curve(found, arguments.by) for name, found in trained.items() if found
    }
    chosen = {str(run_dir): _chosen(run_dir, trained[str(run_dir)]) for run_dir in runs}
    tests = curves_of_entries(find_entries(arguments.paths).entries, arguments.by)
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
    console = pipe_safe(Console())
    if training:
        console.print(_table("training reward", training, arguments))
    if tests:
        console.print(_table("test score", tests, arguments))
    for name, advantage in chosen.items():
        if advantage:
            console.print(Text(f"· {plain(_short(name), 100)}: {_sentence(advantage)}"))
    return 0


def _runs(path: Path) -> list[Path]:
    """The run directories in a folder, or in its subfolders."""
    if not path.is_dir():
        return []
    return runs_in(path) or sorted(p.parent for p in path.glob("*/*/config.toml"))


def _short(name: str) -> str:
    """A run by the names of its directory and of the experiment directory above."""
    run_dir = Path(name)
    return "/".join(run_dir.resolve().parts[-2:]) if run_dir.exists() else name


def _rounds(run_dir: Path) -> list[Mapping[str, Any]]:
    return [cast(Mapping[str, Any], line) for _, line in lines(run_dir / "rounds.jsonl")]


def _chosen(run_dir: Path, rounds: Sequence[Mapping[str, Any]]) -> Advantage | None:
    """The selected prompt's advantage over its rivals; None without rivals or selected prompt."""
    read_request(run_dir)  # raises for a damaged run
    if not (run_dir / "champion.json").exists():
        return None
    return advantages(rounds).get(final_agent_of(run_dir).prompt.id)


def _json(curve: BudgetCurve, target: float | None) -> dict[str, Any]:
    reached = None if target is None else curve.budget_to_reach(target)
    return {
        "points": curve.points,
        "height": curve.normalised_auc,
        "target": target,
        "reached": reached,
    }


def _table(title: str, curves: Mapping[str, BudgetCurve], arguments: argparse.Namespace) -> Table:
    unit = all(0 <= score <= 1 for curve in curves.values() for _, score in curve.points)
    table = Table(box=None, padding=(0, 2, 0, 0))
    heads = [title, "first", "last", "normalised AUC", f"over {arguments.by}"]
    if arguments.target is not None:
        heads.append(f"{arguments.by} to {number(arguments.target, True)}")
    for column, head in enumerate(heads):
        table.add_column(head, justify="right" if column else "left")
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
        table.add_row(Text(plain(_short(name), 60)), *row)
    return table


def _sentence(advantage: Advantage) -> str:
    seen, left = signed(advantage.seen, True), signed(advantage.corrected, True)
    return (
        f"the selected prompt scored {seen} points above its {advantage.rivals} rivals over "
        f"{advantage.rounds} training rounds; {left} after correction for selection bias "
        "(winner's curse)"
    )
