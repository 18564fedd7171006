"""`harness leaderboard --html/--csv/--parquet`: leaderboards for publication.

An entry file may lie in its run directory; the run's log is read here and passed on as plain
values. Observations are included only if the environment allows its texts to be published; if that
cannot be found out, they are left out.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agents.registry import METHODS, describe
from harness.cli.arguments import Arguments
from harness.display.safe_console import SafeConsole
from harness.errors import UsageError
from harness.runs.results.select_rows import say_problems
from harness.runs.run_log import read_log
from leaderboards.boards.export_tables import write_csv, write_parquet
from leaderboards.boards.formatting import counted
from leaderboards.boards.rank import boards
from leaderboards.records.store import find_entries
from leaderboards.site import build_site


def publish(arguments: Arguments, paths: Sequence[Path]) -> int:
    """Write the requested files and print where they are."""
    console = SafeConsole(stderr=True)
    problems: Sequence[str] = ()
    if arguments.html:
        reader = partial(read_log, trusted=tuple(arguments.trust))
        built = build_site(arguments.html, paths, reader, jobs=0, methods=_described())
        problems = built.problems
        summary = (
            f"{counted(built.entries, 'run')} on {counted(built.boards, 'leaderboard')}, "
            f"{built.with_logs:,} with learning curves"
        )
        page = built.folder / "index.html"
        console.print(f"{summary}: open {page}", highlight=False, soft_wrap=True)
    if arguments.csv or arguments.parquet:
        found = find_entries(paths)
        problems = found.problems
        made = boards(found.entries)
        for path, write in ((arguments.csv, write_csv), (arguments.parquet, write_parquet)):
            if path is not None:
                _write(path, write, made)
                console.print(f"written: {path}", highlight=False, soft_wrap=True)
    say_problems(problems)
    return 0


def _described() -> dict[str, str]:
    """A sentence about each built-in method."""
    return {name: describe(name) for name in METHODS}


def _write(path: Path, write: Any, made: Any) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, made)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}); give another file."
        ) from error
