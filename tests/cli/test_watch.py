"""Runs under way in one table: what is read of them, at any width, piped and on a terminal."""

import io
import json
import os
import time

import pytest
from rich.console import Console

from harness.cli.main import main
from harness.display.console import LiveView
from harness.display.safe_console import SafeConsole
from harness.runs.history.run_progress import RunProgress
from harness.runs.progress_table import ProgressTable

RUN = ["run", "--env", "arithmetic", "--model", "scripted:constant=Answer: 5", "--quiet"]
SMALL = ["--episodes", "16", "--test-tasks", "4", "--samples", "2"]
USAGE = ("episodes", "acting_tokens", "reflection_tokens", "gradient_steps")


@pytest.fixture
def out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    words = ["--method", "evolution", "--seeds", "0,1", "--run-dir", "runs/first"]
    assert main([*RUN, *SMALL, *words]) == 0
    capsys.readouterr()
    return tmp_path / "runs" / "first"


def begin(run_dir, rounds, seconds=10.0, **more):
    """Make a finished run one that has so many iterations behind it, each of `seconds`."""
    for name in ("entry.json", "test.jsonl"):
        (run_dir / name).unlink()
    lines = []
    for n in range(rounds):
        spent = dict.fromkeys(USAGE, 100 * (n + 1)) | {"acting_seconds": seconds * (n + 1)}
        line = {"round": n, "reward": 0.1 * n, "scores": {"abc": 0.1 * n}, "spent": spent}
        numbers = {"mu/abc": 25.0 + n, "sigma/abc": 3.0}
        lines.append(
            {**line, "numbers": numbers, "lines": ["child def of abc: ADD: Carry."], **more}
        )
    (run_dir / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def progress(run_dir, rounds=8):
    run = RunProgress(run_dir, rounds)
    run.state = "runs"
    run.look()
    return run


def test_speed_time_left_ratings_and_changes_are_read_from_the_files(out):
    begin(out / "evolution-seed0", 2)
    run = progress(out / "evolution-seed0")
    assert (run.round, run.episodes, run.rewards[-1]) == (2, 200, 0.1)
    assert run.speed() == pytest.approx(2 * 100 / 10)
    assert run.time_left() == pytest.approx(60, abs=5)
    assert run.ratings() == ["abc  μ 26.0  σ 3.0  score 0.100"]
    assert run.learned() == ["child def of abc: ADD: Carry."]
    episode = run.last_episode()
    assert episode is not None and episode.mark == "wrong" and episode.text == "Answer: 5"
    assert episode.task.startswith("train:") and len(episode.prompt) == 12


def test_the_time_left_never_rises_within_an_iteration(out):
    begin(out / "evolution-seed0", 2)
    run = progress(out / "evolution-seed0")
    now = time.time()
    left = [run.time_left(now + seconds) for seconds in (0, 5, 9, 30, 1000)]
    assert left == sorted(left, reverse=True) and left[-1] == 50


def test_a_finished_or_broken_log_ends_no_watch(out):
    run_dir = out / "evolution-seed0"
    begin(run_dir, 1)
    with (run_dir / "rounds.jsonl").open("a") as log:
        log.write('{"round": 2, "re')
    (run_dir / "episodes.jsonl").write_text("[]\n")
    run = progress(run_dir)
    assert run.round == 1 and run.last_episode() is None
    (run_dir / "rounds.jsonl").unlink()
    run.look()
    assert run.round == 0 and run.time_left() is None and run.cells()[3] == "0/8"


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_the_screen_fits_any_width(out, columns):
    for seed in (0, 1):
        begin(out / f"evolution-seed{seed}", 3 + seed)
    console = Console(file=io.StringIO(), width=columns)
    runs = [progress(out / f"evolution-seed{seed}") for seed in (0, 1)]
    table = ProgressTable(runs, console, quiet=True)
    with console.capture() as captured:
        console.print(table.screen())
    text = captured.get()
    assert max(map(len, text.splitlines())) <= columns
    assert "0 of 2 runs done" in text and "3/8" in text and "4/8" in text
    assert "last episode" in text and "child def" in text and "μ 28.0" in text
    if columns >= 80:
        assert "of training left in all" in text


def test_watching_finished_runs_prints_a_line_each_and_ends(out, capsys):
    assert main(["watch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("done, score" in line for line in lines)
    assert main(["watch", "nowhere"]) == 2


def test_runs_are_running_stopped_or_waiting(out, capsys):
    begin(out / "evolution-seed0", 2)
    (out / "evolution-seed0" / "run.lock").write_text(str(os.getpid()))
    assert main(["watch", "runs/first", "--once"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "runs, iteration 2/1" in first and "tokens/s" in first and "done" in second
    (out / "evolution-seed0" / "run.lock").write_text("999999999")
    assert main(["watch", "runs/first"]) == 0  # nothing runs, so there is nothing to wait for
    assert "stopped, iteration 2/1" in capsys.readouterr().out


def test_what_models_wrote_steers_no_terminal(out):
    begin(out / "evolution-seed0", 1, lines=["\x1b[2J[red]evil"])
    console = SafeConsole(file=io.StringIO(), width=100, force_terminal=True)
    table = ProgressTable([progress(out / "evolution-seed0")], console, quiet=True)
    with console.capture() as captured:
        console.print(table.screen())
    assert "\x1b[2J" not in captured.get() and "[red]evil" in captured.get()


def test_other_runs_stand_above_the_live_view_of_one(out):
    console = Console(file=io.StringIO(), width=100, height=40)
    table = ProgressTable([progress(out / "evolution-seed0")], console, quiet=True)
    view = LiveView(console, "arithmetic · evolution · seed 1", 4, lambda: table.draw(8))
    with console.capture() as captured:
        console.print(view.screen())
    view.close()
    text = captured.get()
    assert text.index("1 of 1 run done") < text.index("arithmetic · evolution · seed 1")
