"""`--max-cost` and `--max-hours`: runs stop before they exceed them, and resume to the same end."""

import json
from pathlib import Path

import pytest

from benchmarks.soak.kills import differences
from harness.cli.main import main
from harness.runs import limits

RUN = ["run", "--env", "arithmetic", "--model", "scripted:echo", "--method", "evolution", "--quiet"]
RUN += ["--episodes", "120", "--set", "budget.tasks=3", "--set", "budget.prompts=2", "--json"]
RUN += ["--set", "budget.samples=2", "--test-tasks", "4", "--samples", "1", "--preset", "laptop"]
PRICED = [*RUN, "--set", "prices.currency=EUR", "--set", "prices.rollout=1000000"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def spent(folder):
    return json.loads(Path(folder, "rounds.jsonl").read_text().splitlines()[-1])["spent"]


def test_a_run_stops_before_its_limit_and_resumes_to_the_same_end(capsys):
    assert main([*PRICED, "--run-dir", "whole"]) == 0
    assert main([*PRICED, "--run-dir", "run", "--max-cost", "400"]) == 130
    said = capsys.readouterr().err
    assert "stopped and saved: run: an iteration costs about" in said and "--max-cost" in said
    assert 0 < spent("run")["acting_tokens"] <= 400  # a token costs one euro
    assert not Path("run/entry.json").exists() and not Path("run/opening.json").exists()
    assert main(["resume", "run", "--quiet", "--json"]) == 130  # the limit is kept
    assert main(["resume", "run", "--quiet", "--json", "--max-cost", "0"]) == 0
    assert differences(Path("whole"), Path("run"), ordered=True) == []


def test_each_run_of_an_experiment_has_its_own_limit(capsys):
    words = [*PRICED, "--seeds", "0,1", "--max-cost", "400", "--run-dir", "both"]
    assert main(words) == 130
    said = capsys.readouterr().err
    assert "both/evolution-seed0: " in said and "both/evolution-seed1: " in said
    assert main(["resume", "both", "--quiet", "--json", "--max-cost", "100000"]) == 0


def test_runs_side_by_side_stop_at_their_limits(capsys):
    words = [*PRICED, "--seeds", "0,1", "--max-cost", "400", "--run-dir", "both"]
    assert main([*words, "--executor", "processes", "--jobs", "2"]) == 130
    said = capsys.readouterr().err
    assert "both/evolution-seed0: " in said and "both/evolution-seed1: " in said


def test_a_limit_of_time_stops_before_the_iteration_that_would_take_too_long(capsys, monkeypatch):
    ticks = iter(range(0, 10**6, 600))  # ten minutes for each look at the clock
    monkeypatch.setattr(limits.RunLimits.__init__, "__defaults__", (lambda: float(next(ticks)),))
    assert main([*RUN, "--run-dir", "run", "--max-hours", "1"]) == 130
    assert "minutes have passed" in capsys.readouterr().err
    assert main(["resume", "run", "--quiet", "--json", "--max-hours", "0"]) == 0


@pytest.mark.parametrize("command", [RUN, ["resume", "run"]])
def test_a_limit_of_money_without_prices_is_refused_in_a_sentence(command, capsys):
    if command[0] == "resume":
        assert main([*RUN, "--run-dir", "run"]) == 0
    assert main([*command, "--max-cost", "3"]) == 2
    assert "--max-cost needs prices: add --set prices.currency=USD" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--max-cost", "-1"], ["--max-hours", "nan"]])
def test_amounts_that_are_none_are_refused(words, capsys):
    assert main([*RUN, *words]) == 2
    assert "a number from 0 on" in capsys.readouterr().err


def test_a_resume_changes_how_a_run_is_executed_and_nothing_else(capsys):
    assert main([*PRICED, "--run-dir", "run", "--max-cost", "400"]) == 130
    resume = ["resume", "run", "--quiet", "--json"]
    for words, said in (
        (["model.lora_rank=3"], "model.lora_rank says what is measured"),
        (["sampling.max_tokens=3"], "sampling.max_tokens says what is measured"),
        (["method.edits=1"], "method.edits says what is measured"),
        (["model.batch_row=3"], "Did you mean 'batch_rows'"),
        (["modle.batch_rows=3"], "Did you mean 'model'"),
        (["model.batch_rows=0"], "must be at least 1"),
    ):
        assert main([*resume, "--set", *words]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    before = Path("run/config.toml").read_text()
    assert main([*resume, "--set", "model.batch_rows=7", "--max-cost", "0"]) == 0
    after = Path("run/config.toml").read_text()
    assert "batch_rows = 7" in after and "[limits]" in before and "[limits]" not in after
