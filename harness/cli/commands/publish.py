"""`harness leaderboard add` and `verify`: publish entries, and check published ones.

`add` takes run directories, because only they show that the agent was selected before the test
split was opened; a bare entry does not.
"""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.text import Text

from harness.cli.select_rows import PUBLISHED
from harness.display.console_text import pipe_safe
from harness.errors import RunError, UsageError
from harness.runs.regrade import Graders
from harness.runs.run_dirs import existing
from harness.storage.atomic_files import lines, read_json
from harness.storage.transcript import status
from harness.types import SystemPrompt
from leaderboards.boards.formatting import plain
from leaderboards.boards.publish import add
from leaderboards.boards.verify import Verified, verify
from leaderboards.records.entry import Entry, Outcome
from leaderboards.records.store import read_entry
from leaderboards.records.strict_json import encode

FOUND_WRONG = 1


def publish(runs: Sequence[Path], to: Path | None) -> int:
    """Copy the entries of finished runs to the published ones."""
    if not runs:
        raise UsageError("Name the runs to publish, as in harness leaderboard add runs/my-run.")
    found = [(str(place), _chosen_before(place)) for run in runs for place in _places(run)]
    folder = to or PUBLISHED
    for one in add(found, folder):
        state = "already published" if one.before else "added"
        print(f"{one.path}: {state}")
    print(f"{folder}: manifest and leaderboards written; check with harness leaderboard verify")
    return 0


def _places(run: Path) -> list[Path]:
    if run.is_file() and run.name == "entry.json" and (run.parent / "opening.json").exists():
        return [run.parent]
    if run.is_file():
        raise UsageError(
            f"{run} is an entry without its run; name the run directory, which shows that the "
            "agent was selected before the test split was opened."
        )
    return existing(run)


def _chosen_before(place: Path) -> Entry:
    """The entry of a run, checked against the record of its single held-out evaluation."""
    if not (place / "entry.json").exists():
        raise RunError(f"{place} is not finished; type harness resume {place} first.")
    entry = read_entry(place / "entry.json")
    opening = cast(Mapping[str, Any], read_json(place / "opening.json"))
    prompt = SystemPrompt(entry.prompt.briefing, entry.prompt.principles)
    agent = {"prompt": prompt.id, "policy_version": entry.policy_version}
    declared = opening.get("agents")
    if opening.get("openings") != 1 or not isinstance(declared, list) or agent not in declared:
        raise RunError(
            f"{place} opened the test split for another agent than its entry names: the agent was "
            "selected afterwards, so it is not published."
        )
    if _moment(str(opening.get("opened"))) > _moment(entry.provenance.created):
        raise RunError(
            f"{place} opened the test split after its entry was made; it is not published."
        )
    played = [cast(Mapping[str, Any], line) for _, line in lines(place / "test.jsonl")]
    if _kept(played) != _told(entry.outcomes):
        raise RunError(
            f"{place} has other outcomes in test.jsonl than in entry.json; it is not published."
        )
    return entry


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(f"{text!r} names no time zone")
    except ValueError as error:
        raise RunError(
            f"opening.json does not say when the test split was opened ({error})."
        ) from error
    return moment


def _kept(played: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], tuple[str, float | None]]:
    return {(p["task"], p["sample"]): (status(p["ending"]), p["reward"]) for p in played}


def _told(outcomes: Sequence[Outcome]) -> dict[tuple[str, int], tuple[str, float | None]]:
    return {(o.task, o.sample): (o.status, o.reward) for o in outcomes}


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
    console = pipe_safe(Console())
    console.print(
        f"{folder}: {found.entries} entries, {found.outcomes:,} outcomes; "
        f"{found.numbers:,} printed numbers recomputed, {found.graded:,} completions graded again",
        markup=False,
        highlight=False,
    )
    for reason, count in sorted(found.left.items()):
        console.print(Text(f"· {count:,} outcomes not graded again: {plain(reason, 300)}"))
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
        return f"{len(found.problems)} problems"
    if waiting := sum(map(len, found.unopened.values())):
        entries = "1 entry was" if waiting == 1 else f"{waiting:,} entries were"
        return f"nothing wrong was found, but {entries} not replayed"
    left = sum(found.left.values())
    return f"nothing wrong was found; {left:,} not graded again" if left else "nothing is wrong"
