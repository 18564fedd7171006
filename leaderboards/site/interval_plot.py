"""Intervals of rows as small plots: a common scale, its axis, and positions on it."""

from leaderboards.boards.model import Board, Row


def scale(board: Board) -> tuple[float, float]:
    """The rewards at the left and right end of a leaderboard's interval plots."""
    if board.unit:
        return 0.0, 1.0
    ends = [end for row in board.rows for end in _ends(row) if end is not None]
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def axis(board: Board) -> tuple[str, ...]:
    """Labels below the interval plots, from the left end to the right."""
    low, high = scale(board)
    steps = 4 if board.unit else 2
    ticks = (low + (high - low) * step / steps for step in range(steps + 1))
    return tuple(f"{100 * t:g}" if board.unit else f"{t:.3g}" for t in ticks)


def _ends(row: Row) -> list[float | None]:
    seeds, tasks = row.seed_estimate.interval, row.item_estimate.interval
    return [
        seeds.low if seeds else None,
        tasks.low if tasks else None,
        row.score,
        tasks.high if tasks else None,
        seeds.high if seeds else None,
    ]


def positions(row: Row, between: tuple[float, float]) -> tuple[float | None, ...]:
    """Five points in per cent of the width: see `BoardLine`; `between` is from `scale`."""
    # If all ends are equal, there is no span to divide by.
    low, span = between[0], (between[1] - between[0]) or 1.0
    return tuple(None if e is None else round(100 * (e - low) / span, 1) for e in _ends(row))
