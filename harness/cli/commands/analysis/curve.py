"""`harness curve`: score against budget, and the chosen prompt without the luck of being chosen."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.display.console_text import forgiving, plain
from harness.errors import UsageError
from harness.runs.build import champion_of, read_request
from harness.runs.run_dirs import runs_in
from harness.storage.atomic_files import lines
from leaderboards.boards.formatting import NOTHING, count, number, signed
from leaderboards.records.store import find_entries
from leaderboards.stats.budget_curves import BudgetCurve, of_entries, of_rounds
from leaderboards.stats.selection_bias import Advantage, advantages


def main(arguments: argparse.Namespace) -> int:
    """Training curves of runs, test curves where entries of several budgets are found."""
    missing = [str(path) for path in arguments.paths if not path.exists()]
    if missing:
        raise UsageError(f"{', '.join(missing)} does not exist; name runs, or folders of them.")
    runs = [place for path in arguments.paths for place in _runs(path)]
    trained = {str(place): _rounds(place) for place in runs}
    training = {name: of_rounds(found, arguments.by) for name, found in trained.items() if found}
    chosen = {str(place): _chosen(place, trained[str(place)]) for place in runs}
    tests = of_entries(find_entries(arguments.paths).entries, arguments.by)
    if not (training or tests):
        raise UsageError("No round was played there, and no method has entries of two budgets.")
    if arguments.json:
        told = {
            "by": arguments.by,
            "training": {name: _told(c, arguments.target) for name, c in training.items()},
            "test": {name: _told(c, arguments.target) for name, c in tests.items()},
            "chosen": {name: asdict(a) for name, a in chosen.items() if a},
        }
        print(json.dumps(told, allow_nan=False))
        return 0
    console = forgiving(Console())
    if training:
        console.print(_table("training reward", training, arguments))
    if tests:
        console.print(_table("test score", tests, arguments))
    for name, advantage in chosen.items():
        if advantage:
            console.print(Text(f"· {plain(_short(name), 100)}: {_said(advantage)}"))
    return 0


def _runs(path: Path) -> list[Path]:
    """The runs in a folder, or in the folders it holds."""
    if not path.is_dir():
        return []
    return runs_in(path) or sorted(p.parent for p in path.glob("*/*/config.toml"))


def _short(name: str) -> str:
    """A run by its folder and the folder that one lies in, which is the experiment's."""
    place = Path(name)
    return "/".join(place.resolve().parts[-2:]) if place.exists() else name


def _rounds(place: Path) -> list[Mapping[str, Any]]:
    return [cast(Mapping[str, Any], line) for _, line in lines(place / "rounds.jsonl")]


def _chosen(place: Path, rounds: Sequence[Mapping[str, Any]]) -> Advantage | None:
    """The champion's advantage over its rivals; None where there were none, or no champion yet."""
    read_request(place)  # a damaged run is named here
    if not (place / "champion.json").exists():
        return None
    return advantages(rounds).get(champion_of(place).prompt.id)


def _told(curve: BudgetCurve, target: float | None) -> dict[str, Any]:
    reached = None if target is None else curve.reaches(target)
    return {"points": curve.points, "height": curve.height, "target": target, "reached": reached}


def _table(title: str, curves: Mapping[str, BudgetCurve], arguments: argparse.Namespace) -> Table:
    unit = all(0 <= score <= 1 for curve in curves.values() for _, score in curve.points)
    table = Table(box=None, padding=(0, 2, 0, 0))
    heads = [title, "first", "last", "mean height", f"over {arguments.by}"]
    if arguments.target is not None:
        heads.append(f"{arguments.by} to {number(arguments.target, True)}")
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left")
    for name, curve in curves.items():
        scores = [score for _, score in curve.points]
        cells = [number(v, unit) for v in (scores[0], scores[-1], curve.height)] if scores else []
        row = [*(cells or [NOTHING] * 3), count(curve.points[-1][0]) if scores else NOTHING]
        if arguments.target is not None:
            reached = curve.reaches(arguments.target)
            row.append("never" if reached is None else count(reached))
        table.add_row(Text(plain(_short(name), 60)), *row)
    return table


def _said(advantage: Advantage) -> str:
    seen, left = signed(advantage.seen, True), signed(advantage.corrected, True)
    return (
        f"the chosen prompt did {seen} points better in training than its {advantage.rivals} "
        f"rivals in {advantage.rounds} rounds; without the luck of being chosen, {left}"
    )
