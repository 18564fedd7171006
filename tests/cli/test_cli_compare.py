"""`harness compare`, `plan` and `curve` as a user meets them."""

import json

import pytest

from harness.cli.main import main

RUN = ["run", "--env", "arithmetic", "--quiet", "--method", "base"]
SMALL = ["--test-tasks", "6", "--samples", "2"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")


def run(folder, *words):
    model = ["--model", "scripted:constant=Answer: 5"]
    assert main([*RUN, *SMALL, *model, "--run-dir", folder, *words]) == 0


def rename(path, method, right):
    """The same run as another method's, with other outcomes: a row to compare with."""
    told = json.loads(path.read_text())
    told["method"] = method
    for number, outcome in enumerate(told["outcomes"]):
        outcome["reward"] = float(number < right)
        outcome["success"] = number < right
    path.write_text(json.dumps(told))


@pytest.fixture
def two(tmp_path, capsys):
    """Two methods over three seeds each: base, every seed alike, and what is called espl."""
    for name in ("plain", "learnt"):
        run(name, "--seeds", "0-2")
    for seed in range(3):
        rename(tmp_path / "learnt" / f"base-seed{seed}" / "entry.json", "espl", 8 + seed)
    capsys.readouterr()


def test_methods_are_compared_with_the_first_named(two, capsys):
    assert main(["compare", "base", "espl", "--in", "plain", "--in", "learnt"]) == 0
    shown = capsys.readouterr().out
    assert "CI over training seeds: differences between training runs, paired by seed" in shown
    # 8, 9 and 10 of 12 against 2 of 12: 7/12, sd 1/12, t(2) 4.302653: ± 0.2070; p for t = 12.12.
    assert "· espl − base: +58.3 [+37.6, +79.0] over 3 seeds, p = 0.007 (paired t, df 2)" in shown
    assert "over 6 tasks" in shown
    assert "! 3 common seeds: differences over training seeds are provisional" in shown


def test_folders_and_entries_can_be_named_as_they_lie(two, capsys):
    assert main(["compare", "plain", "learnt", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["reference"]["method"] == "base"
    (contrast,) = told["contrasts"]
    assert contrast["this_method"]["value"] == pytest.approx(7 / 12)
    assert contrast["this_agent"]["estimand"] == "this agent"
    one = ["plain/base-seed0/entry.json", "learnt/base-seed0/entry.json"]
    assert main(["compare", *one]) == 0
    assert "+50.0, no interval (1 seed)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["base"], "takes two or more"),
        (["base", "esp", "--in", "plain", "--in", "learnt"], "Did you mean 'espl'"),
        (["base", "espl", "--in", "nowhere"], "nowhere does not exist"),
        (["plain", "learnt", "--interval", "bootstrap"], "bootstrap over 3"),
        (["plain", "both"], "both matches several rows (base, espl)"),
        (["plain", "tracks"], "several Tracks, which differ in eval_temperature"),
        (["plain", "empty"], "empty holds no entry"),
    ],
)
def test_incomparable_rows_are_refused_in_one_sentence(two, words, said, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, other in (("both", "learnt"), ("tracks", "plain")):
        (tmp_path / folder).mkdir()
        for number, source in enumerate(("plain", other)):
            text = (tmp_path / source / "base-seed0" / "entry.json").read_text()
            if folder == "tracks" and number:
                told = json.loads(text)
                told["track"]["eval_temperature"] = 0.1
                text = json.dumps(told)
            (tmp_path / folder / f"{number}.entry.json").write_text(text)
    assert main(["compare", *words]) == 2
    assert said in capsys.readouterr().err


def test_different_tracks_are_refused_and_why_not_tells_the_values(tmp_path, capsys):
    run("plain")
    run("warm", "--set", "evaluation.temperature=0.25")
    capsys.readouterr()
    assert main(["compare", "plain", "warm"]) == 2
    err = capsys.readouterr().err
    assert "their Tracks differ in eval_temperature; harness compare --why-not plain warm" in err
    assert main(["compare", "--why-not", "plain", "warm"]) == 1
    assert "  eval_temperature: 0.7 and 0.25" in capsys.readouterr().out
    assert main(["compare", "--why-not", "plain", "plain"]) == 0
    assert "one Track" in capsys.readouterr().out


def test_an_edited_entry_is_refused_by_name(two, capsys, tmp_path):
    (tmp_path / "plain" / "base-seed1" / "entry.json").write_text("{}")
    assert main(["compare", "plain", "learnt"]) == 5
    assert "plain/base-seed1/entry.json" in capsys.readouterr().err


def test_a_plan_says_what_is_spent_and_what_could_be_seen(capsys):
    words = ["plan", "--env", "arithmetic", "--model", "scripted:echo", *SMALL, "--seeds", "0-4"]
    words += ["--method", "base,evolution", "--episodes", "310", "--effect", "5", "--json"]
    round_ = {"tasks": 10, "prompts": 3, "samples": 5}
    assert (
        main([*words, *(w for k, n in round_.items() for w in ("--set", f"budget.{k}={n}"))]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    base, evolution = told["costs"]
    assert (base["training_episodes"], base["test_episodes"]) == (0, 60)
    assert evolution["runs"] == 5
    # Two whole rounds of 150 in each of five runs; ten episodes stay unplayed.
    assert evolution["training_episodes"] == 1500 and evolution["test_episodes"] == 60
    assert 0 < told["evaluation_share"] < 0.5
    assert told["design"] == {"tasks": 6, "samples": 2, "seeds": 5, "own_tasks": False}
    assert "assumed" in told["spread_basis"]
    (warning,) = told["warnings"]
    assert warning.startswith("a difference of 5 points would be found in ")


def test_a_plan_of_one_seed_warns_that_it_cannot_succeed(capsys):
    words = ["plan", "--env", "arithmetic", "--model", "scripted:echo", *SMALL]
    assert main([*words, "--method", "base,evolution", "--episodes", "100"]) == 0
    shown = capsys.readouterr().out
    assert "between methods (training seeds are the unit): not estimable with 1; give" in shown
    assert "! one seed says nothing about methods" in shown
    assert main([*words, "--method", "base"]) == 0
    assert "one seed says nothing" not in capsys.readouterr().out


def test_a_plan_measures_in_runs_that_exist(two, capsys):
    words = ["plan", "--env", "arithmetic", "--model", "scripted:constant=Answer: 5", *SMALL]
    assert main([*words, "--method", "base", "--from", "plain", "--from", "learnt", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["costs"][0]["basis"] == "measured in 3 runs of it here"
    assert told["costs"][0]["evaluation_tokens"] == 12 * 2  # a reply is two words
    assert told["spread_basis"].startswith("measured in 6 runs")
    assert told["spread"]["seed"] > 0


def test_a_curve_tells_height_and_what_a_target_took(tmp_path, capsys):
    words = ["run", "--env", "arithmetic", "--quiet", "--method", "evolution", *SMALL]
    model = ["--model", "scripted:constant=Answer: 5", "--episodes", "32", "--run-dir", "out"]
    assert main([*words, *model, "--set", "budget.tasks=2", "--set", "budget.prompts=2"]) == 0
    log = tmp_path / "out" / "rounds.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) > 1
    made = []
    for number in range(4):
        spent = {**lines[0]["spent"], "episodes": 8 * (number + 1)}
        made.append({**lines[0], "round": number, "reward": number / 4, "spent": spent})
    log.write_text("".join(json.dumps(line) + "\n" for line in made))
    capsys.readouterr()
    assert main(["curve", "out", "--target", "50", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (curve,) = told["training"].values()
    assert (curve["height"], curve["reached"]) == (pytest.approx(0.375), 32)
    assert main(["curve", "out", "--target", "90"]) == 0
    assert "never" in capsys.readouterr().out
    assert main(["curve", "nowhere"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_points_are_above_zero_and_at_most_a_hundred(capsys):
    for effect in ("0", "101", "much"):
        assert main(["plan", "--effect", effect]) == 2
        assert "points above 0 and at most 100" in capsys.readouterr().err
