"""What verification catches, what it cannot, and what is not published in the first place."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leaderboards.boards.manifest import BEGIN, END, boards_path, manifest_path, read_manifest
from leaderboards.boards.publish import add, refusal
from leaderboards.boards.verify import Grader, GraderVerdict, Verified, verify
from leaderboards.records.entry import Entry, Outcome
from leaderboards.records.store import read_entry, write_entry
from leaderboards.records.strict_json import RecordError

Make = Callable[..., Entry]


def judge(outcome: Outcome) -> GraderVerdict:
    """The world of these entries: task test:0 is answered by "12", test:1 by "7"."""
    right = outcome.reply == {"test:0": "12", "test:1": "7"}[outcome.task]
    return GraderVerdict(float(right), right)


def graded(_: Entry) -> Grader | str:
    return judge


def answering(make: Make, *replies: str, **more: Any) -> Entry:
    """An entry of two tasks with one sample each, with the rewards its replies earn."""
    entry = make({"test:0": [0], "test:1": [0]}, **more)
    outcomes = []
    for outcome, reply in zip(entry.outcomes, replies, strict=True):
        said = replace(outcome, reply=reply)
        judged = judge(said)
        outcomes.append(replace(said, reward=judged.reward, success=judged.success))
    return replace(entry, outcomes=tuple(outcomes))


@pytest.fixture
def folder(tmp_path: Path, make_entry: Make) -> Path:
    entries = [
        answering(make_entry, "12", "7"),
        answering(make_entry, "12", "8", method="base"),
        answering(make_entry, "1", "7", method="base", seed=1),
    ]
    add([(e.method, e) for e in entries], tmp_path / "results")
    return tmp_path / "results"


def edit(folder: Path, old: str, new: str) -> Path:
    path = next(p for p in sorted(folder.rglob("espl*.json")) if old in p.read_text())
    path.write_text(path.read_text().replace(old, new, 1))
    return path


def test_what_was_published_passes(folder: Path) -> None:
    found = verify(folder, graded)
    assert (found.problems, found.left) == ((), {})
    assert (found.entries, found.outcomes, found.graded) == (3, 6, 6)
    assert found.numbers > 40


def test_the_manifest_is_one_that_sha256sum_reads(folder: Path) -> None:
    listed = read_manifest(manifest_path(folder))
    assert len(listed) == 3 and all((folder / name).is_file() for name in listed)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "results.sha256"],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.count(": OK") == 3


def test_an_edited_outcome_is_caught_three_times(folder: Path) -> None:
    path = edit(folder, '"reward":1.0', '"reward":0.0')
    name = path.relative_to(folder).as_posix()
    problems = verify(folder, graded).problems
    assert f"{name}: was changed after it was published" in problems[0]
    assert "reward 0 is recorded, but the completion earns 1" in problems[1]
    assert any("results.json: boards[0].rows" in problem for problem in problems)


def test_an_edited_outcome_is_caught_by_its_reply_even_with_a_new_manifest(folder: Path) -> None:
    entry = read_entry(next(folder.rglob("base-seed0*")))
    better = replace(entry.outcomes[1], reward=1.0, success=True)
    path = next(folder.rglob("base-seed0*"))
    path.unlink()
    forged = replace(entry, outcomes=(entry.outcomes[0], better))
    add([("forged", forged)], folder)
    (problem,) = verify(folder, graded).problems
    assert problem.endswith("'test:1' sample 0: reward 1 is recorded, but the completion earns 0")


def test_an_invented_reply_is_not_caught(folder: Path) -> None:
    path = next(folder.rglob("base-seed0*"))
    entry = read_entry(path)
    path.unlink()
    invented = replace(entry.outcomes[1], reply="7", reward=1.0, success=True)
    add([("invented", replace(entry, outcomes=(entry.outcomes[0], invented)))], folder)
    assert verify(folder, graded).problems == ()


def test_files_that_came_went_or_are_none_are_named(folder: Path, make_entry: Make) -> None:
    gone = next(folder.rglob("base-seed1*"))
    gone.unlink()
    write_entry(folder / "new.entry.json", answering(make_entry, "3", "3", seed=7))
    (folder / "bad.entry.json").write_text("{}")
    problems = "\n".join(verify(folder, graded).problems)
    assert (
        f"{gone.relative_to(folder).as_posix()}: is in results.sha256, but not in the folder"
        in problems
    )
    assert "new.entry.json: is in the folder, but not in results.sha256" in problems
    assert "bad.entry.json: field 'schema' is missing" in problems


def test_an_edited_number_on_a_board_is_named_with_its_place(folder: Path) -> None:
    told = json.loads(boards_path(folder).read_text())
    told["boards"][0]["rows"][0]["score"] = 0.99
    boards_path(folder).write_text(json.dumps(told))
    (problem,) = verify(folder, graded).problems
    assert problem == "results.json: boards[0].rows[0].score says 0.99, but the outcomes give 1.0"


def test_a_page_with_marks_shows_the_boards_and_is_checked(folder: Path, make_entry: Make) -> None:
    page = folder.parent / "README.md"
    page.write_text(f"# Ours\n\n{BEGIN}\nold\n{END}\nafter\n")
    assert verify(folder, graded).problems == (
        "README.md: its leaderboards are not those of the entries",
    )
    add([("more", answering(make_entry, "12", "7", seed=1))], folder)
    assert verify(folder, graded).problems == ()
    text = page.read_text()
    assert text.startswith(f"# Ours\n\n{BEGIN}\n\n## arithmetic-v1") and text.endswith("after\n")
    page.write_text(text.replace("| 100.0 |", "| 100.1 |"))
    assert len(verify(folder, graded).problems) == 1


def test_a_folder_to_which_nothing_was_published_passes(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "none").mkdir()
    assert verify(tmp_path / "none", graded) == Verified(0, 0, 0, 0)
    for path in folder.rglob("*.json"):
        path.unlink()
    assert len(verify(folder, graded).problems) > 3


def test_missing_neighbours_are_problems(folder: Path) -> None:
    manifest_path(folder).unlink()
    boards_path(folder).unlink()
    first, second = verify(folder, graded).problems
    assert "results.sha256 is missing" in first and "results.json is missing" in second


def test_a_damaged_manifest_is_one_sentence(folder: Path) -> None:
    manifest_path(folder).write_text("0123  ../etc/passwd\n")
    assert verify(folder, graded).problems[0].startswith("results.sha256: line 1 is not a hash")


def test_what_cannot_be_graded_again_is_counted_by_its_reason(
    tmp_path: Path, make_entry: Make
) -> None:
    entry = answering(make_entry, "12", "7")
    silent = replace(entry.outcomes[0], reply=None)
    failed = Outcome("test:1", 0, "unscored", None, None, 3, "7")
    add([("one", replace(entry, outcomes=(silent, failed)))], tmp_path / "results")
    found = verify(tmp_path / "results", graded)
    assert found.problems == () and found.graded == 0
    assert found.left == {
        "no completion was kept": 1,
        "environment or grader had failed, so there is nothing to compare": 1,
    }
    away = verify(tmp_path / "results", lambda _: "the world has several turns")
    assert away.left == {"the world has several turns": 2}


def test_a_grader_that_gives_no_score_now_is_a_problem(folder: Path) -> None:
    found = verify(folder, lambda _: lambda outcome: GraderVerdict(None, False))
    assert len(found.problems) == 6
    assert "but the grader gives no score" in found.problems[0]


def test_dirty_or_unknown_code_is_not_published(tmp_path: Path, make_entry: Make) -> None:
    entry = make_entry()
    dirty = replace(entry, provenance=replace(entry.provenance, dirty=True))
    with pytest.raises(RecordError, match=r"runs/x: was made by uncommitted code"):
        add([("good", entry), ("runs/x", dirty)], tmp_path / "results")
    assert not (tmp_path / "results").exists()
    nowhere = replace(entry, provenance=replace(entry.provenance, commit=""))
    assert "names no commit" in refusal(nowhere, [])


def test_a_second_run_of_a_seed_is_a_choice_after_test_was_opened(
    folder: Path, make_entry: Make
) -> None:
    again = answering(make_entry, "12", "7", notes=("a better day",))
    with pytest.raises(RecordError, match="second run of espl with seed 0"):
        add([("again", again)], folder)
    other = answering(make_entry, "12", "7", config={"learning_rate": 1.0})
    add([("other settings", other)], folder)
    assert verify(folder, graded).problems == ()


def test_adding_an_entry_again_changes_nothing(folder: Path) -> None:
    before = {p: p.read_bytes() for p in folder.parent.rglob("*") if p.is_file()}
    entry = read_entry(next(folder.rglob("espl*")))
    (added,) = add([("same", entry)], folder)
    assert added.before
    assert {p: p.read_bytes() for p in folder.parent.rglob("*") if p.is_file()} == before
