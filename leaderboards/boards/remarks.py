"""Cautions below a leaderboard: runs that no row counts, different seeds, warnings of rows."""

from collections.abc import Iterator

from leaderboards.boards.common_seeds import common_seed_scores
from leaderboards.boards.formatting import counted, number, plain, unscored_text
from leaderboards.boards.model import Board
from leaderboards.records.entry import Entry
from leaderboards.records.strict_json import JSON

_MOST_APART, _MOST_CHANGES = 20, 5  # runs that are named, and changes of each


def board_remarks(board: Board) -> list[str]:
    """Cautions about the leaderboard as a whole: runs that are not ranked, and different seeds."""
    apart = _apart_remarks(board)
    common = common_seed_scores(board)
    if common is None:
        return apart
    seeds, scores = common
    listed = ", ".join(
        f"{plain(name, 60)} {number(value, board.unit)}" for name, value in scores[:20]
    )
    rest = f" and {len(scores) - 20} more" if len(scores) > 20 else ""
    common_seeds = counted(len(seeds), "common one", "common ones")
    text = f"rows have different seeds; scores over the {common_seeds}: {listed}{rest}"
    return [*apart, text]


def remarks(board: Board) -> Iterator[str]:
    """Cautions about the leaderboard, then about single rows."""
    yield from board_remarks(board)
    for row in board.rows:
        warnings = list(row.warnings)
        if row.unscored:
            warnings.insert(0, unscored_text(row))
        for text in warnings:
            yield f"{plain(row.label, 60)}: {plain(text)}"


def _apart_remarks(board: Board) -> list[str]:
    """One line for each such run of a leaderboard."""
    lines = [_apart(entry) for entry in board.apart[:_MOST_APART]]
    if (more := len(board.apart) - _MOST_APART) > 0:
        lines.append(f"and {more} more runs are not ranked, because their settings changed")
    return lines


def _apart(entry: Entry) -> str:
    """The reason that a run is not ranked: the settings that changed on the way."""
    changes = [(segment.iteration, one) for segment in entry.segments for one in segment.changes]
    listed = ", ".join(
        f"{plain(one.key, 60)} from {_setting(one.old)} to {_setting(one.new)} in iteration {n + 1}"
        for n, one in changes[:_MOST_CHANGES]
    )
    more = len(changes) - _MOST_CHANGES
    rest = f" and {more} more" if more > 0 else ""
    name = f"{plain(entry.method, 40)} seed {entry.seed} ({entry.id})"
    return f"not ranked, because its settings changed: {name}: {listed}{rest}"


def _setting(value: JSON) -> str:
    return "unset" if value is None else plain(value if isinstance(value, str) else str(value), 40)
