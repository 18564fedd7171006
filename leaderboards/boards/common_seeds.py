"""Scores over the training seeds that all rows of a leaderboard share."""

from leaderboards.boards.model import Board
from leaderboards.stats.intervals import mean


def common_seed_scores(
    board: Board,
) -> tuple[tuple[int, ...], tuple[tuple[str, float], ...]] | None:
    """The seeds common to all rows, and each row's score over them, best first.

    None if all rows have the same seeds anyway, or fewer than two in common.
    """
    scored = [row for row in board.rows if row.score is not None]
    seeds = [{seed for seed, value in row.scores if value is not None} for row in scored]
    common = set.intersection(*seeds) if seeds else set()
    if len(common) < 2 or all(one == common for one in seeds):
        return None
    found = []
    for row in scored:
        value = mean([v for seed, v in row.scores if seed in common and v is not None])
        found.append((row.label, value or 0.0))
    found.sort(key=lambda one: (-one[1], one[0]))
    return tuple(sorted(common)), tuple(found)
