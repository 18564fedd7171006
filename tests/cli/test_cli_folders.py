"""Which folder a run is given, and that no two processes are given the same one."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError, RunError, UsageError
from harness.runs import run_dirs
from harness.runs.request import read_request, write_request
from harness.runs.resolve import Requested, resolve
from leaderboards.records.store import read_entry


@pytest.fixture(autouse=True)
def one_second(tmp_path, monkeypatch):
    """A clock that stands still, so that every run is asked for in the same second."""
    monkeypatch.chdir(tmp_path)

    class Still(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 5, 1, 12, 0, 0)

    monkeypatch.setattr(run_dirs, "datetime", Still)


def request(seed=0):
    asked = Requested(env="arithmetic", methods=("base",), model="scripted:echo", seeds=(seed,))
    return resolve(asked).configs


def test_runs_of_one_second_have_folders_of_their_own():
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(run_dirs.new_folder, ["calibration/both"] * 64))
    assert len(set(folders)) == 64
    assert all(folder.is_dir() for folder in folders)
    assert {f.name for f in folders} >= {
        "20260501-120000-calibration-both",
        "20260501-120000-calibration-both-64",
    }


def test_an_empty_folder_is_taken_and_one_of_another_start_is_not():
    folder = run_dirs.new_folder("arithmetic")
    assert run_dirs.lay_out(request(7), folder) == [folder]
    with pytest.raises(RunError, match="is in use by process"):
        run_dirs.lay_out(request(), folder)
    assert read_request(folder).run.seed == 7
    run_dirs.let_go(folder)
    # It never began, so it is laid out anew.
    with run_dirs.laid_out(request(3), folder):
        assert read_request(folder).run.seed == 3
    assert run_dirs.new_folder("arithmetic").name.endswith("arithmetic-2")


def test_several_requests_are_laid_out_all_or_none(monkeypatch):
    folder, prepare = Path("exp"), write_request
    asked = (*request(0), *request(1))

    def breaks(one, place):
        if one.run.seed == 1:
            raise KeyboardInterrupt
        prepare(one, place)

    monkeypatch.setattr(run_dirs, "write_request", breaks)
    with pytest.raises(KeyboardInterrupt):
        run_dirs.lay_out(asked, folder)
    with pytest.raises(UsageError, match="not laid out to the end"):
        run_dirs.existing(folder)
    monkeypatch.setattr(run_dirs, "write_request", prepare)
    with run_dirs.laid_out(asked, folder) as made:
        assert run_dirs.existing(folder) == made == [folder / "base-seed0", folder / "base-seed1"]
    # A single request in its place: what was there is gone, but for locks.
    with run_dirs.laid_out(request(5), folder) as made:
        assert run_dirs.existing(folder) == made == [folder]


@pytest.mark.parametrize("name", ["notes.txt", "sub/notes.txt", ".hidden"])
def test_a_folder_with_other_files_is_left_as_it_is(name):
    folder = Path("mine")
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        run_dirs.lay_out(request(), folder)
    assert [p for p in folder.rglob("*") if p.is_file()] == [folder / name]


RACER = """
import sys
from harness.cli.main import main
seed = sys.argv[1]
words = ["--env", "arithmetic", "--model", "scripted:echo", "--method", "base", "--quiet", "--json"]
words += ["--preset", "laptop", "--test-tasks", "2", "--samples", "1"]
print("ready", file=sys.stderr, flush=True)
for line in sys.stdin:
    command, folder = line.split()
    if command == "run":
        code = main(["run", *words, "--seed", seed, "--run-dir", folder])
    elif command == "runs":
        code = main(["run", *words, "--seed", f"{seed},1{seed}", "--run-dir", folder])
    else:
        change = ["--change", f"evaluation.temperature=0.{seed}"]
        code = main(["resume", folder, "--quiet", "--json", *change])
    print("ended", code, file=sys.stderr, flush=True)
"""


@pytest.fixture(scope="module")
def racers():
    """Processes that start runs at the same time."""
    command = [sys.executable, "-c", RACER]
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.PIPE,
    }
    made = [subprocess.Popen([*command, str(n)], text=True, **pipes) for n in (1, 2, 3)]
    try:
        for one in made:
            assert "ready" in until(one, "ready")
        yield made
    finally:
        for one in made:
            one.kill()
            one.communicate()


def until(process, word):
    """Lines of a process up to the first that begins with a word."""
    found = ""
    for line in process.stderr:
        found += line
        if line.startswith(word):
            return found
    raise AssertionError(f"a process ended: {found}")


def race(racers, *commands):
    """The exit codes and messages of commands that are given at once, one to each process."""
    for one, command in zip(racers, commands, strict=True):
        one.stdin.write(command + "\n")
        one.stdin.flush()
    said = [until(one, "ended") for one in racers]
    return [int(text.rsplit(None, 1)[1]) for text in said], said


@pytest.mark.parametrize("kind", ["empty", "laid out", "several"])
def test_of_starts_at_the_same_time_one_wins_and_the_others_say_so(racers, tmp_path, kind):
    for number in range(4):
        folder = tmp_path / f"race-{number}"
        if kind == "laid out":
            with run_dirs.laid_out(request(9), folder):
                pass
        codes, said = race(racers, *[f"{'runs' if kind == 'several' else 'run'} {folder}"] * 3)
        assert codes.count(0) == 1, said
        winner = str(codes.index(0) + 1)
        made = run_dirs.existing(folder)
        seeds = {str(read_request(one).run.seed) for one in made}
        assert seeds == ({winner, f"1{winner}"} if kind == "several" else {winner})
        for run in made:
            assert str(read_entry(run / "entry.json").seed) in seeds
        for code, text in zip(codes, said, strict=True):
            assert code == 0 or "in use by process" in text or "already holds a run" in text


def test_of_changes_at_the_same_time_one_wins(racers, tmp_path):
    for number in range(4):
        folder = tmp_path / f"race-{number}"
        with run_dirs.laid_out(request(9), folder):
            pass
        codes, said = race(racers, *[f"resume {folder}"] * 3)
        assert 0 in codes, said
        entry = read_entry(folder / "entry.json")
        # Who comes when all is over sees the summary of the finished run.
        own = [n for n, code in enumerate(codes, 1) if code == 0]
        assert entry.track.eval_temperature in [n / 10 for n in own]
        assert entry.segments == ()  # it had not begun


@pytest.mark.parametrize("spoil", ["file", "dangling"])
def test_where_no_folder_can_be_made_one_sentence_says_so(spoil):
    Path("runs").write_text("") if spoil == "file" else Path("runs").symlink_to("nowhere")
    with pytest.raises(HarnessError, match=r"cannot be written .* give another --run-dir"):
        run_dirs.new_folder("arithmetic")
