"""Leaderboards as CSV and Parquet for other programs: a line for each row, all Tracks in one file.

Scores are unrounded fractions. Unknown values are empty, never 0. `method_low` and `method_high`
are the CI over training seeds, `agent_low` and `agent_high` the CI over test items.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from leaderboards.boards.formatting import plain
from leaderboards.boards.model import Board, Row
from leaderboards.records.strict_json import canonical
from leaderboards.stats.scores import Estimate

Cell = str | int | float | bool | None

LONGEST_CELL = 32_000  # characters; spreadsheets take no more

# Signs that begin a formula, in every width, at the start or behind what may separate cells; commas
# do not, as the writer quotes a cell that holds one. Signs behind which nothing follows count too.
_FORMULA = re.compile(
    r"""(?P<before>^|[;|\t；｜])(?P<sign>["'\s]*[=+@−＝＋－＠﹦﹢﹣﹫⁼₌⁺₊⁻₋-])""",
)
_TEXT: Final = "text"
_INTEGER: Final = "integer"
_NUMBER: Final = "number"
_BOOLEAN: Final = "boolean"


def _end(estimate: Estimate, end: str) -> Any:
    return getattr(estimate.interval, end, None)


COLUMNS: dict[str, tuple[str, Callable[[Board, Row], Cell]]] = {
    "track": (_TEXT, lambda b, r: b.track.id),
    "env": (_TEXT, lambda b, r: b.track.env),
    "model": (_TEXT, lambda b, r: b.track.model),
    "budget_episodes": (_INTEGER, lambda b, r: b.track.budget_episodes),
    "test_tasks": (_INTEGER, lambda b, r: b.track.test_tasks),
    "samples_per_task": (_INTEGER, lambda b, r: b.track.samples_per_task),
    "rank": (_INTEGER, lambda b, r: r.rank),
    "provisional": (_BOOLEAN, lambda b, r: r.provisional),
    "method": (_TEXT, lambda b, r: r.method),
    "settings": (_TEXT, lambda b, r: "; ".join(r.settings)),
    "config": (_TEXT, lambda b, r: canonical(r.config)),
    "seeds": (_INTEGER, lambda b, r: len(r.scores)),
    "score": (_NUMBER, lambda b, r: r.score),
    "method_low": (
        _NUMBER,
        lambda b, r: _end(r.seed_estimate, "low"),
    ),
    "method_high": (
        _NUMBER,
        lambda b, r: _end(r.seed_estimate, "high"),
    ),
    "agent_low": (_NUMBER, lambda b, r: _end(r.item_estimate, "low")),
    "agent_high": (_NUMBER, lambda b, r: _end(r.item_estimate, "high")),
    "agent_interval": (
        _TEXT,
        lambda b, r: _end(r.item_estimate, "kind"),
    ),
    "pass_at_k": (_NUMBER, lambda b, r: r.passes.value if r.passes else None),
    "k": (_INTEGER, lambda b, r: r.passes.k if r.passes else None),
    "episodes": (_NUMBER, lambda b, r: r.cost.episodes),
    "acting_tokens": (_NUMBER, lambda b, r: r.cost.acting_tokens),
    "reflection_tokens": (_NUMBER, lambda b, r: r.cost.reflection_tokens),
    "evaluation_tokens": (_NUMBER, lambda b, r: r.cost.evaluation_tokens),
    "gradient_steps": (_NUMBER, lambda b, r: r.cost.gradient_steps),
    "seconds": (_NUMBER, lambda b, r: r.cost.seconds),
    "money": (_NUMBER, lambda b, r: r.money.amount if r.money else None),
    "currency": (_TEXT, lambda b, r: r.money.currency if r.money else None),
    "outcomes": (_INTEGER, lambda b, r: r.outcomes),
    "unscored": (_INTEGER, lambda b, r: r.unscored),
    "truncated": (_INTEGER, lambda b, r: r.truncated),
    "low_if_unscored_wrong": (_NUMBER, lambda b, r: r.bounds[0] if r.bounds else None),
    "high_if_unscored_right": (_NUMBER, lambda b, r: r.bounds[1] if r.bounds else None),
    "warnings": (_TEXT, lambda b, r: "; ".join(r.warnings)),
    "entries": (_TEXT, lambda b, r: " ".join(entry.id for entry in r.entries)),
}
"""Each column's type, and the function that gives its cell."""


def table(boards: Sequence[Board]) -> Iterator[dict[str, Cell]]:
    """One record for each row, leaderboard after leaderboard, best first."""
    for board in boards:
        for row in board.rows:
            yield {name: cell(board, row) for name, (_, cell) in COLUMNS.items()}


def write_csv(path: Path, boards: Sequence[Board]) -> None:
    """Write UTF-8 CSV with a header.

    Text that a spreadsheet would take for a formula gets a leading apostrophe, also where the
    spreadsheet would split it, as at semicolons; control characters are removed.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for record in table(boards):
            writer.writerow({name: _harmless(cell) for name, cell in record.items()})


def _harmless(cell: Cell) -> Cell:
    if not isinstance(cell, str):
        return cell
    return _FORMULA.sub(r"\g<before>'\g<sign>", plain(cell, LONGEST_CELL - 1))[:LONGEST_CELL]


def write_parquet(path: Path, boards: Sequence[Board]) -> None:
    """Write Parquet with the types of `COLUMNS`, so that empty columns keep their types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[str, Any] = {
        _TEXT: pa.string(),
        _INTEGER: pa.int64(),
        _NUMBER: pa.float64(),
        _BOOLEAN: pa.bool_(),
    }
    schema = pa.schema([(name, kinds[kind]) for name, (kind, _) in COLUMNS.items()])
    pq.write_table(pa.Table.from_pylist(list(table(boards)), schema=schema), path)
