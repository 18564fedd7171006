"""`harness leaderboard`: the boards of all entries found."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from harness.errors import UsageError
from leaderboards.render import boards_json, markdown_boards, print_boards
from leaderboards.store import find_entries

_PUBLISHED = Path(__file__).resolve().parents[2] / "leaderboards" / "results"


def main(arguments: argparse.Namespace) -> int:
    """Print every Track's board; files that are no entries are named on standard error."""
    paths = arguments.paths or [p for p in (Path("runs"), _PUBLISHED) if p.exists()]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} does not exist; name files or folders with entries."
        )
    found = find_entries(paths)
    errors = Console(stderr=True)
    for problem in found.problems:
        errors.print(str(problem), markup=False, highlight=False)
    entries = [stored.entry for stored in found.stored]
    if arguments.json:
        json.dump(boards_json(entries), sys.stdout, allow_nan=False)
        print()
    elif arguments.markdown:
        print(markdown_boards(entries))
    elif entries:
        print_boards(entries, Console())
    else:
        errors.print("no entries yet; make one with: harness run", markup=False)
    return 0
