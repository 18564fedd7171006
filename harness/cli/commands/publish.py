"""`harness leaderboard add` and `verify`: publish entries, and check published ones.

`add` takes run directories, because only they show that the agent was selected before the test
split was opened; a bare entry does not.
"""

import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from rich.text import Text

from harness.display.console_text import pipe_safe
from harness.display.safe_console import SafeConsole, say
from harness.errors import UsageError
from harness.runs.publication import checked_entry, publishable
from harness.runs.regrade import Graders
from harness.runs.results.select_rows import PUBLISHED
from leaderboards.boards.formatting import counted, plain
from leaderboards.boards.manifest import boards_path, manifest_path
from leaderboards.boards.publish import add
from leaderboards.boards.verify import Verified, verify
from leaderboards.records.strict_json import encode

FOUND_WRONG = 1


def publish(runs: Sequence[Path], to: Path | None, second_run: bool = False) -> int:
    """Copy the entries of finished runs to the published ones."""
    if not runs:
        raise UsageError("Name the runs to publish, as in harness leaderboard add runs/my-run.")
    run_dirs = [run_dir for run in runs for run_dir in publishable(run)]
    found = [(str(run_dir), checked_entry(run_dir)) for run_dir in run_dirs]
    folder = to or PUBLISHED
    for one in add(found, folder, second_run):
        state = "already published" if one.before else "added"
        say(f"{one.path}: {state}")
    beside = f"{manifest_path(folder).name} and {boards_path(folder).name}"
    check = "" if to is None else f" {folder}"
    say(
        f"{folder.resolve().parent}: {beside} written, the hashes and leaderboards of "
        f"{folder.name}; check with harness leaderboard verify{check}"
    )
    return 0


def check(
    folders: Sequence[Path], data_dir: Path | None, as_json: bool, trusted: Collection[str] = ()
) -> int:
    """Verify published entries; exit code 1 if anything is wrong or waits for --trust."""
    if len(folders) > 1:
        raise UsageError(
            "One folder of published entries at a time: harness leaderboard verify DIR."
        )
    folder = folders[0] if folders else PUBLISHED
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name the one that holds published entries.")
    graders = Graders(data_dir, trusted)
    try:
        found = verify(folder, graders.grader_for)
    finally:
        graders.close()
    if as_json:
        json.dump(encode(found), sys.stdout)
        print()
    else:
        _say(folder, found)
    return FOUND_WRONG if found.problems or found.unopened else 0


def _say(folder: Path, found: Verified) -> None:
    console = pipe_safe(SafeConsole())
    console.print(
        f"{folder}: {counted(found.entries, 'entry', 'entries')}, "
        f"{counted(found.outcomes, 'outcome')}; "
        f"{found.numbers:,} printed numbers recomputed, {found.graded:,} completions graded again",
        highlight=False,
    )
    for reason, count in sorted(found.left.items()):
        console.print(Text(f"· {counted(count, 'outcome')} not graded again: {plain(reason, 300)}"))
    for why, names in found.unopened.items():
        message = f"{_some(names)} not replayed: {plain(why, 600)}"
        console.print(Text(f"? {message}", style="yellow"), soft_wrap=True)
    for problem in found.problems:
        console.print(Text(f"! {plain(problem, 400)}", style="red"))
    console.print(_outcome(found))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{plain(names[0], 200)}{more}"


def _outcome(found: Verified) -> str:
    if found.problems:
        return counted(len(found.problems), "problem")
    if waiting := sum(map(len, found.unopened.values())):
        entries = counted(waiting, "entry was", "entries were")
        return f"nothing wrong was found, but {entries} not replayed"
    left = sum(found.left.values())
    return f"nothing wrong was found; {left:,} not graded again" if left else "nothing is wrong"
