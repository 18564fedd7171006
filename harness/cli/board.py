"""`harness leaderboard`: the boards of all entries found."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from harness.errors import UsageError
from leaderboards.rank import boards
from leaderboards.render import Terminal, as_json, markdown
from leaderboards.store import find_entries

_PUBLISHED = Path(__file__).resolve().parents[2] / "leaderboards" / "results"


def main(arguments: argparse.Namespace) -> int:
    """Print every Track's board; files that are no entries are named below."""
    paths = arguments.paths or [p for p in (Path("runs"), _PUBLISHED) if p.exists()]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} does not exist; name files or folders with entries."
        )
    found = find_entries(paths)
    ranked = boards(found.entries)
    problems = [str(problem) for problem in found.problems]
    if arguments.json:
        json.dump(as_json(ranked, problems=problems), sys.stdout, allow_nan=False)
        print()
    elif arguments.markdown:
        print(markdown(ranked, problems=problems))
    else:
        Console().print(Terminal(ranked, problems=problems))
    return 0
