"""Marks on rows that hold one's own runs beside published ones."""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from leaderboards.boards.formatting import counted, plain
from leaderboards.boards.model import Board, Row

OWN = "†"


def marked(board: Board, unpublished: AbstractSet[str]) -> Board:
    """The leaderboard with a mark at the methods of rows that hold an unpublished entry."""

    def own(row: Row) -> Row:
        return replace(row, method=f"{row.method}{OWN}") if _own(row, unpublished) else row

    return replace(board, rows=tuple(map(own, board.rows))) if unpublished else board


def _own(row: Row, unpublished: AbstractSet[str]) -> int:
    return sum(entry.id in unpublished for entry in row.entries)


def own_rows(board: Board, unpublished: AbstractSet[str]) -> list[str]:
    """A line that explains the mark, where a row has it."""
    listed = [
        f"{own} of {counted(len(row.entries), 'run')} of {plain(row.label, 60)}"
        for row in board.rows
        if (own := _own(row, unpublished))
    ]
    found = f"{OWN}: holds runs of your own, which nobody has verified: {', '.join(listed)}"
    return [found] if listed else []
