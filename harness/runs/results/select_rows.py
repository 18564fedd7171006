"""Selection of rows by run directory, entry file or method name."""

from collections.abc import Sequence
from pathlib import Path

from harness.display.console_text import plain
from harness.display.safe_console import SafeConsole
from harness.errors import RunError, UsageError, unknown
from leaderboards.boards.formatting import differing_fields
from leaderboards.boards.model import Row, track_differences
from leaderboards.boards.rank import boards
from leaderboards.records.entry import Entry
from leaderboards.records.store import find_entries

PUBLISHED = Path(__file__).resolve().parents[3] / "leaderboards" / "results"


def search_paths(given: Sequence[Path]) -> list[Path]:
    """The paths to search for entries: the given ones, or else runs/ and the published results."""
    missing = [str(path) for path in given if not path.exists()]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} does not exist; name files or folders with entries."
        )
    return list(given) or [p for p in (Path("runs"), PUBLISHED) if p.exists()]


def entries_in(paths: Sequence[Path]) -> tuple[Entry, ...]:
    """All entries there; a file that is not an entry is an error, because results would lack it."""
    found = find_entries(paths)
    if found.problems:
        raise RunError(f"{found.problems[0]} Remove it, or name the others one by one.")
    return found.entries


def entries_around(paths: Sequence[Path]) -> tuple[Entry, ...]:
    """All entries to choose from; a file that is not one is named on standard error.

    Raises:
        RunError: There are only such files.
    """
    found = find_entries(paths)
    if found.problems and not found.entries:
        raise RunError(f"{found.problems[0]} Name others, or restore it.")
    say_problems(found.problems)
    return found.entries


def say_problems(problems: Sequence[str]) -> None:
    """Name files that were not read, on standard error."""
    console = SafeConsole(stderr=True)
    for problem in problems:
        console.print(f"not read: {plain(problem)}", highlight=False, soft_wrap=True)


def rows_for(names: Sequence[str], within: Sequence[Path], seeds: Sequence[int] = ()) -> list[Row]:
    """One row for each name, in their order; only of the given training seeds, if any.

    Raises:
        UsageError: for a name that matches no row, or more than one.
        RunError: for a file that is not an entry, in what is named by its path.
    """
    around: list[Row] | None = None
    found = []
    for name in names:
        path = Path(name)
        if path.exists():
            rows = _rows(entries_in([path]), seeds)
        else:
            if around is None:
                around = _rows(entries_around(search_paths(within)), seeds)
            rows = [row for row in around if name in (row.method, row.label)]
            if not rows:
                raise unknown("run, entry or method", name, {row.label for row in around})
        found.append(_only(name, rows))
    return found


def _rows(entries: Sequence[Entry], seeds: Sequence[int] = ()) -> list[Row]:
    kept = [entry for entry in entries if not seeds or entry.seed in seeds]
    if entries and not kept:
        raise UsageError(
            f"No entry there has one of the seeds {', '.join(map(str, seeds))}; leave out --seeds."
        )
    made = boards(kept)
    rows = [row for board in made for row in board.rows]
    if not rows and (apart := [entry for board in made for entry in board.apart]):
        raise UsageError(
            f"{apart[0].method} seed {apart[0].seed} ({apart[0].id}) is in no row, because its "
            "settings changed on the way; name a run of one setting."
        )
    return rows


def _only(name: str, rows: Sequence[Row]) -> Row:
    if not rows:
        raise UsageError(f"{name} holds no entry; name a finished run, or an entry file.")
    if len(rows) == 1:
        return rows[0]
    first, second = rows[:2]
    tracks = [row.entries[0].track for row in (first, second)]
    if track_differences(*tracks):
        raise UsageError(
            f"{name} matches rows of several Tracks, which differ in "
            f"{differing_fields(tracks[0], tracks[1])}; narrow it down with --in FOLDER."
        )
    labels = ", ".join(sorted({row.label for row in rows}))
    raise UsageError(f"{name} matches several rows ({labels}); name one of them, with --in FOLDER.")
