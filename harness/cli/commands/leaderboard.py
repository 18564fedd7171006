"""`harness leaderboard`: leaderboards of all entries found; `verify` and `add` published ones."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.cli.arguments import Arguments
from harness.display.safe_console import SafeConsole
from harness.errors import UsageError
from harness.runs.results.select_rows import PUBLISHED, search_paths
from leaderboards.boards.rank import boards
from leaderboards.boards.render import TerminalTable, as_json, markdown
from leaderboards.records.store import Stored, find_entries

_ONLY = {"data_dir": "verify", "to": "add", "second_run": "add"}  # options of one act
_TRUST = "--trust belongs to harness leaderboard verify, or to --html."


def main(arguments: Arguments) -> int:
    """Print the leaderboard of every Track, then the files that are not entries."""
    act = str(arguments.paths[0]) if arguments.paths else ""
    for option, belongs in _ONLY.items():
        if getattr(arguments, option) and act != belongs:
            raise UsageError(
                f"--{option.replace('_', '-')} belongs to harness leaderboard {belongs}."
            )
    if arguments.trust and act != "verify" and not arguments.html:
        raise UsageError(_TRUST)
    files = arguments.html or arguments.csv or arguments.parquet
    if files and (act in _ONLY.values() or arguments.json or arguments.markdown):
        raise UsageError(
            "--html, --csv and --parquet write files; leave out verify, add, --json and "
            "--markdown, or type them as another command."
        )
    if act in _ONLY.values():
        return _published(act, arguments.paths[1:], arguments)
    if files:
        from harness.cli.commands.site import publish as write  # with environments and templates

        return write(arguments, search_paths(arguments.paths))
    found = find_entries(search_paths(arguments.paths))
    ranked = boards(found.entries)
    problems = [str(problem) for problem in found.problems]
    own = _unpublished(found.stored)
    if arguments.json:
        told = as_json(ranked, problems=problems)
        json.dump({**told, "unpublished": sorted(own)}, sys.stdout, allow_nan=False)
        print()
    elif arguments.markdown:
        print(markdown(ranked, problems=problems, unpublished=own))
    else:
        SafeConsole().print(TerminalTable(ranked, problems=problems, unpublished=own))
    return 0


def _unpublished(stored: Sequence[Stored]) -> frozenset[str]:
    """Ids of entries that are not published, where published ones are shown beside them."""
    published = {one.entry.id for one in stored if one.path.resolve().is_relative_to(PUBLISHED)}
    return frozenset(one.entry.id for one in stored if published) - published


def _published(act: str, paths: Sequence[Path], arguments: Arguments) -> int:
    """`verify` or `add`; a folder of that name is written ./verify."""
    from harness.cli.commands.publish import check, publish  # with graders and environments

    if arguments.markdown or (arguments.json and act == "add"):
        option = "markdown" if arguments.markdown else "json"
        raise UsageError(f"harness leaderboard {act} takes no --{option}; leave it out.")
    if act == "verify":
        return check(paths, arguments.data_dir, arguments.json, arguments.trust)
    return publish(paths, arguments.to, arguments.second_run)
