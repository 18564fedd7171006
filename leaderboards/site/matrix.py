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
    places: dict[str, list[float]] = {}
    for board in chosen:
        for row in board.rows:
            if row.rank is not None:
                # Relative to the number of rows, or last places on long boards would weigh the
                # most.
                places.setdefault(row.method, []).append(row.rank / len(board.rows))
    found = {row.method for board in chosen for row in board.rows}
    # Best mean relative rank first, then by name.
    ordered = sorted(found, key=lambda m: (_mean_place(places.get(m, [])), m))
    shown = ordered[:METHODS]
    rows = [(formatting.plain(m, 60), tuple(_cell(board, m) for board in chosen)) for m in shown]
    return Matrix(tuple(chosen), tuple(rows), len(boards) - len(chosen), len(ordered) - len(shown))


def _mean_place(places: Sequence[float]) -> float:
    # Relative ranks are 1 at most, so a method that was never ranked comes last.
    return sum(places) / len(places) if places else 2.0


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
        formatting.interval_cell(best.item_estimate, board.unit),
        heat,
        best.rank == 1,
        best.provisional,
        len(rows),
    )
