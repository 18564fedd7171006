"""Methods by environments; a column is one Track, because scores compare only within one."""

from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.boards import formatting
from leaderboards.boards.model import Board, Row

COLUMNS = 16  # with more Tracks, each environment shows the one with the most entries
METHODS = 60  # rows of the table at most


@dataclass(frozen=True, slots=True)
class Cell:
    """A method's best row on a Track; `heat` is its score in tenths where rewards are in [0, 1].

    `of` counts the method's rows there, because the best of many is a biased choice.
    """

    text: str
    interval: str
    heat: int | None
    first: bool
    provisional: bool
    of: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """Methods by Tracks; None where a method has not been run. Omitted rows are counted."""

    boards: tuple[Board, ...]
    methods: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    tracks_left_out: int
    methods_left_out: int


def distinguishing_fields(boards: Sequence[Board]) -> dict[str, str]:
    """By Track id, its differences from the first Track of the same environment, model, budget."""
    first: dict[tuple[str, str, int], Board] = {}
    found: dict[str, str] = {}
    for board in boards:
        track = board.track
        alike = first.setdefault((track.env, track.model, track.budget_episodes), board)
        names = [name.replace("_", " ") for name in track.differs(alike.track)]
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        found[track.id] = f"other {', '.join(names[:2])}{more}" if names else ""
    return found


def matrix(boards: Sequence[Board]) -> Matrix:
    """The best row of each method on each Track."""
    chosen = _chosen(boards)
    found = {row.method for board in chosen for row in board.rows}
    # By score on the leaderboard that most methods share, which comes first; scores of different
    # Tracks are never pooled.
    main = largest(chosen)
    if main is not None:
        chosen.sort(key=lambda board: board is not main)
    best = [row.method for row in main.rows] if main else []
    ordered = [*dict.fromkeys(best), *sorted(found - set(best))]
    shown = ordered[:METHODS]
    rows = [(formatting.plain(m, 60), tuple(_cell(board, m) for board in chosen)) for m in shown]
    return Matrix(tuple(chosen), tuple(rows), len(boards) - len(chosen), len(ordered) - len(shown))


def largest(boards: Sequence[Board]) -> Board | None:
    """The leaderboard with the most methods, then the most runs; None without leaderboards."""
    return max(
        boards, key=lambda b: (len({row.method for row in b.rows}), _entries(b)), default=None
    )


def _chosen(boards: Sequence[Board]) -> list[Board]:
    if len(boards) <= COLUMNS:
        return list(boards)
    largest: dict[str, Board] = {}
    for board in boards:
        before = largest.get(board.track.env)
        if before is None or _entries(board) > _entries(before):
            largest[board.track.env] = board
    return list(largest.values())[:COLUMNS]


def _entries(board: Board) -> int:
    return sum(len(row.entries) for row in board.rows)


def _cell(board: Board, method: str) -> Cell | None:
    rows: list[Row] = [row for row in board.rows if row.method == method]
    if not rows:
        return None
    best = rows[0]  # boards are best first
    heat = None if best.score is None or not board.unit else min(10, int(10 * best.score))
    return Cell(
        formatting.number(best.score, board.unit),
        formatting.interval_cell(best.seed_estimate, board.unit),
        heat,
        best.rank == 1 and len(board.rows) > 1,
        best.provisional,
        len(rows),
    )
