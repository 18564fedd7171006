"""Rows compared over the seeds that all of them have."""

from leaderboards.boards.model import Board
from leaderboards.stats.intervals import mean


def same_seeds(board: Board) -> tuple[tuple[int, ...], tuple[tuple[str, float], ...]] | None:
    """The seeds that all rows have, and each row's score over them, best first.

    None where all rows have the same seeds anyway, or fewer than two in common.
    """
    scored = [row for row in board.rows if row.score is not None]
    seeds = [{seed for seed, value in row.scores if value is not None} for row in scored]
    common = set.intersection(*seeds) if seeds else set()
    if len(common) < 2 or all(one == common for one in seeds):
        return None
    told = []
    for row in scored:
        value = mean([v for seed, v in row.scores if seed in common and v is not None])
        told.append((row.label, value or 0.0))
    told.sort(key=lambda one: (-one[1], one[0]))
    return tuple(sorted(common)), tuple(told)
