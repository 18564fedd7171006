"""The picture of the first page: the rows of the leaderboard with the most methods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leaderboards.boards import formatting
from leaderboards.boards.model import Board
from leaderboards.site import interval_plot, plots
from leaderboards.site.matrix import largest

_HERO = 12  # rows


@dataclass(frozen=True, slots=True)
class HeroLine:
    """A row of the first page's picture."""

    label: str
    score: str
    interval: str
    seeds: int
    ranks: str
    tone: int
    positions: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Hero:
    """The first page's picture: the leaderboard with the most methods, its first rows."""

    board: Board
    lines: tuple[HeroLine, ...]
    scale: tuple[str, ...]


def hero(made: Sequence[Board], tones: Mapping[str, int]) -> Hero | None:
    """The picture of the first page; None unless some leaderboard has several rows."""
    board = largest(made)
    if board is None or len(board.rows) < 2:
        return None
    between = interval_plot.scale(board)
    found = tuple(
        HeroLine(
            formatting.plain(row.label, 60),
            formatting.number(row.score, board.unit),
            formatting.interval_cell(row.seed_estimate, board.unit),
            len(row.scores),
            formatting.rank_cell(row),
            tones.get(row.method, plots.MUTED),
            interval_plot.positions(row, between),
        )
        for row in board.rows[:_HERO]
    )
    return Hero(board, found, interval_plot.axis(board))
