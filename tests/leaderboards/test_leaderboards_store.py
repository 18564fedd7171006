"""Entries on disk: whole or absent, never overwritten, and a bad one in nobody's way."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderboards.records.entry import Entry
from leaderboards.records.store import find_entries, read_entry, write_entry
from leaderboards.records.strict_json import RecordError

Make = Callable[..., Entry]


def test_an_entry_is_read_as_it_was_written(tmp_path: Path, make_entry: Make) -> None:
    path = write_entry(tmp_path / "run" / "entry.json", make_entry())
    assert read_entry(path) == make_entry()
    assert [p.name for p in path.parent.iterdir()] == ["entry.json"]


def test_writing_the_same_entry_again_changes_nothing(tmp_path: Path, make_entry: Make) -> None:
    path = write_entry(tmp_path / "entry.json", make_entry())
    before = path.stat().st_mtime_ns
    write_entry(path, make_entry())
    assert path.stat().st_mtime_ns == before


def test_another_entry_is_never_overwritten(tmp_path: Path, make_entry: Make) -> None:
    path = write_entry(tmp_path / "entry.json", make_entry())
    with pytest.raises(RecordError, match="already exists and holds something else"):
        write_entry(path, make_entry(seed=1))
    assert read_entry(path).seed == 0


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_failed_write_leaves_no_half_file(
    tmp_path: Path, make_entry: Make, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    if name == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_entry(tmp_path / "entry.json", make_entry())
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, make_entry: Make) -> None:
    with pytest.raises(RecordError, match="field 'seed' must be a whole number"):
        write_entry(tmp_path / "entry.json", make_entry(seed=0.5))
    assert list(tmp_path.iterdir()) == []


def test_folders_are_searched_and_bad_files_named(tmp_path: Path, make_entry: Make) -> None:
    write_entry(tmp_path / "b" / "entry.json", make_entry(seed=1))
    write_entry(tmp_path / "a" / "deep" / "x.entry.json", make_entry(seed=2))
    write_entry(tmp_path / "a" / "other.json", make_entry(seed=3))
    (tmp_path / "a" / "bad.entry.json").write_text('{"schema": 1}')
    (tmp_path / "a" / ".entry.json.7.tmp").write_text("{")
    found = find_entries([tmp_path])
    assert [e.seed for e in found.entries] == [2, 1]
    (problem,) = found.problems
    assert problem.startswith(f"{tmp_path / 'a' / 'bad.entry.json'}: field 'track' is missing")


def test_a_file_that_is_named_is_read_whatever_its_name(tmp_path: Path, make_entry: Make) -> None:
    path = write_entry(tmp_path / "other.json", make_entry())
    assert [s.path for s in find_entries([path, tmp_path, path]).stored] == [path]


def test_a_path_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    found = find_entries([tmp_path / "nowhere"])
    assert found.entries == ()
    assert found.problems == (f"{tmp_path / 'nowhere'}: is not a file.",)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "entry.json")
    assert "is not a file" in find_entries([tmp_path]).problems[0]


def test_a_file_too_large_to_be_an_entry_is_not_loaded(tmp_path: Path) -> None:
    with (tmp_path / "entry.json").open("wb") as file:
        file.truncate((1 << 28) + 1)  # a sparse file
    assert "is larger than 256 MiB" in find_entries([tmp_path]).problems[0]
