"""The page of one leaderboard.

The page itself holds the first rows; the script beside it holds all rows with their sort keys.
Both are made from the same cells.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from leaderboards.boards import formatting
from leaderboards.boards.model import Board, Row
from leaderboards.boards.rank import contrasts
from leaderboards.boards.remarks import board_remarks
from leaderboards.records.strict_json import JSON
from leaderboards.site import interval_plot, plots
from leaderboards.site.differences import difference_plot
from leaderboards.site.grid import reward_grid
from leaderboards.site.page import board_title, render, track_table

PAGE = 50  # rows shown at once


@dataclass(frozen=True, slots=True)
class SiteColumn:
    """A column: its cell's text, its sort key, and the order of the first click."""

    name: str
    heading: str
    about: str
    cell: Callable[[Row, bool], str]
    key: Callable[[Row], float | str | None]
    first: Literal["ascending", "descending"] = "descending"
    kind: Literal["text", "number", "interval", "notes", "seeds"] = "number"


@dataclass(frozen=True, slots=True)
class BoardLine:
    """A row as a page shows it.

    `positions` are five points of the interval plot in per cent of its width: low end over seeds,
    low end over items, score, high end over items, high end over seeds; None where unknown.
    """

    cells: tuple[str, ...]
    keys: tuple[float | str | None, ...]
    positions: tuple[float | None, ...]
    seeds: tuple[tuple[int, str, str], ...]
    warnings: tuple[str, ...]
    method: str
    provisional: bool
    tone: int


def columns(board: Board) -> list[SiteColumn]:
    """The columns of a leaderboard's table."""
    k = board.track.samples_per_task
    priced = any(row.money for row in board.rows)
    several, money = [_pass(k)] if k > 1 else [], [_money()] if priced else []
    return [*_result_columns(), *several, *_costs(), *money, *_remarks()]


def _result_columns() -> list[SiteColumn]:
    return [
        SiteColumn(
            "rank",
            "#",
            "rank interval by paired t tests; sorted by score",
            lambda r, u: formatting.rank_cell(r),
            lambda r: r.rank,
            "ascending",
        ),
        SiteColumn(
            "method",
            "method",
            "method, with the settings in which its rows differ",
            lambda r, u: formatting.plain(r.label),
            lambda r: r.label,
            "ascending",
            "text",
        ),
        SiteColumn(
            "score",
            "score",
            "mean reward on the test split",
            lambda r, u: formatting.number(r.score, u),
            lambda r: r.score,
        ),
        SiteColumn(
            "interval",
            "95 % CI",
            "thick: over test items; thin: over training seeds",
            _intervals,
            _width,
            "ascending",
            "interval",
        ),
        SiteColumn(
            "seeds",
            "seeds",
            "training runs; click to list them",
            lambda r, u: str(len(r.scores)),
            lambda r: len(r.scores),
            kind="seeds",
        ),
    ]


def _pass(k: int) -> SiteColumn:
    return SiteColumn(
        "pass",
        f"pass@{k}",
        f"chance that at least one of {k} completions is correct",
        lambda r, u: formatting.number(r.passes.value, True) if r.passes else formatting.NOTHING,
        lambda r: r.passes.value if r.passes else None,
    )


def _costs() -> list[SiteColumn]:
    return [
        SiteColumn(
            "episodes",
            "episodes",
            "training episodes, mean of a run",
            lambda r, u: formatting.count(r.cost.episodes),
            lambda r: r.cost.episodes,
            "ascending",
        ),
        SiteColumn(
            "acting",
            "rollout tokens",
            "tokens sampled in rollouts, mean of a run",
            lambda r, u: formatting.count(r.cost.acting_tokens),
            lambda r: r.cost.acting_tokens,
            "ascending",
        ),
        SiteColumn(
            "reflecting",
            "reflection tokens",
            "tokens sampled in reflection, mean of a run",
            lambda r, u: formatting.count(r.cost.reflection_tokens),
            lambda r: r.cost.reflection_tokens,
            "ascending",
        ),
    ]


def _money() -> SiteColumn:
    return SiteColumn(
        "cost",
        "cost",
        "of the tokens sampled in training, mean of a run, at the prices the runs recorded",
        lambda r, u: formatting.money_cell(r),
        lambda r: r.money.amount if r.money else None,
        "ascending",
    )


def _remarks() -> list[SiteColumn]:
    return [
        SiteColumn(
            "failed",
            "unsc./trunc.",
            "unscored and truncated test outcomes",
            lambda r, u: f"{r.unscored:,}/{r.truncated:,}",
            lambda r: r.unscored + r.truncated,
        ),
        SiteColumn(
            "notes",
            "notes",
            "warnings; provisional rows have fewer than five seeds",
            lambda r, u: "",
            # Provisional counts as half a warning, so that such rows come before those without any
            # note.
            lambda r: len(r.warnings) + 0.5 * r.provisional,
            kind="notes",
        ),
    ]


def _intervals(row: Row, unit: bool) -> str:
    items = formatting.interval_cell(row.item_estimate, unit)
    return f"{items} | {formatting.interval_cell(row.seed_estimate, unit)}"


def _width(row: Row) -> float | None:
    interval = row.item_estimate.interval
    return interval.high - interval.low if interval else None


def lines(board: Board, shown: Sequence[SiteColumn], tones: Mapping[str, int]) -> list[BoardLine]:
    """All rows, best first."""
    scale = interval_plot.scale(board)
    return [
        BoardLine(
            cells=tuple(c.cell(row, board.unit) for c in shown),
            keys=tuple(c.key(row) for c in shown),
            positions=interval_plot.positions(row, scale),
            seeds=tuple(
                (seed, formatting.number(value, board.unit), entry.id)
                for (seed, value), entry in zip(row.scores, row.entries, strict=True)
            ),
            warnings=tuple(formatting.plain(w, 300) for w in _warnings(row)),
            method=formatting.plain(row.method, 80),
            provisional=row.provisional,
            tone=tones.get(row.method, plots.MUTED),
        )
        for row in board.rows
    ]


def _warnings(row: Row) -> list[str]:
    if not row.unscored:
        return list(row.warnings)
    return [formatting.unscored_text(row), *row.warnings]


def board_page(
    board: Board, shown: Sequence[SiteColumn], rows: Sequence[BoardLine], drawn: bool
) -> str:
    """The page of one leaderboard; `drawn`: its script holds learning curves."""
    differences = contrasts(board)
    return render(
        "board.html",
        board=board,
        title=formatting.title(board.track, board.options),
        env_title=board_title(board),
        about=formatting.track_lines(board.track),
        track=track_table(board.track),
        columns=shown,
        rows=rows[:PAGE],
        total=len(rows),
        page=PAGE,
        methods=sorted({row.method for row in rows}),
        contrast_heading=formatting.contrast_heading(differences, board.unit)
        if differences
        else "",
        contrasts=difference_plot(differences, board.unit),
        tokens_heading=formatting.tokens_heading(board) if board.at_tokens else "",
        at_tokens=difference_plot(board.at_tokens, board.unit),
        scale=interval_plot.axis(board),
        remarks=board_remarks(board),
        legend=formatting.legend(board),
        learning=drawn,
        grid=reward_grid(board),
        drawn=plots.DRAWN,
        entries=sum(len(row.seeds) for row in rows),
    )


def board_numbers(
    board: Board,
    shown: Sequence[SiteColumn],
    rows: Sequence[BoardLine],
    groups: Sequence[Sequence[Row]],
    curves: Mapping[str, plots.PlotCurve],
    tones: Mapping[str, int],
) -> dict[str, Any]:
    """Every row and the plots, as plain JSON values for the page's scripts."""
    drawn: dict[str, JSON] = {"spent": plots.spent(groups, tones, board.unit)}
    if learning := plots.learning(board.rows, curves, tones, board.unit):
        drawn["learning"] = learning
    return {
        "page": PAGE,
        "grid": reward_grid(board),
        "axis": list(interval_plot.axis(board)),
        "columns": [[c.name, c.kind, c.first] for c in shown],
        "rows": [
            [
                list(r.cells),
                list(r.keys),
                list(r.positions),
                [list(seed) for seed in r.seeds],
                list(r.warnings),
                r.method,
                r.provisional,
                r.tone,
            ]
            for r in rows
        ],
        "plots": drawn,
    }
