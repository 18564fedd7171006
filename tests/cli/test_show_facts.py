"""`harness show` at a glance, and the marks on leaderboards."""

import io
import json
import re

import pytest
from rich.console import Console

import harness.cli.commands.leaderboard as command
from harness.cli.main import main
from harness.display.fitted_table import FittedTable
from harness.runs.history.facts import read_facts
from leaderboards.boards.rank import boards
from leaderboards.records.store import read_entry
from leaderboards.site.matrix import matrix
from leaderboards.stats.scores import result

RUN = ["run", "--env", "arithmetic", "--model", "scripted:constant=Answer: 5", "--quiet"]
SMALL = ["--episodes", "16", "--test-tasks", "40", "--samples", "2"]


@pytest.fixture
def out(tmp_path, monkeypatch, capsys):
    """A folder of three finished runs, in runs/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    words = ["--method", "base,evolution", "--seeds", "0,1", "--run-dir", "runs/first"]
    assert main([*RUN, *SMALL, *words]) == 0
    capsys.readouterr()
    return tmp_path / "runs" / "first"


def told(capsys, *words):
    assert main(list(words)) == 0
    return capsys.readouterr().out


def test_a_run_shows_its_score_budget_dates_and_duration(out, capsys):
    entry = read_entry(out / "evolution-seed0" / "entry.json")
    text = " ".join(told(capsys, "show", "runs/first/evolution-seed0").split())
    assert f"score {100 * (result(entry).score or 0.0):.1f} (95 % CI over test items" in text
    assert "40 test tasks × 2 samples; 0 unscored, 0 truncated" in text
    assert "budget 16 episodes, 16 spent in 1 iteration:" in text
    assert f"ended {entry.provenance.created[:10]}" in text and "duration" in text
    assert entry.track.id in text


def test_an_unfinished_run_says_that_it_has_no_score_yet(out, capsys):
    (out / "evolution-seed0" / "entry.json").unlink()
    text = told(capsys, "show", "runs/first/evolution-seed0")
    assert "none yet: the test split is evaluated once" in text
    assert read_facts(out / "evolution-seed0").state == "unfinished"


@pytest.mark.parametrize("columns", [30, 60, 80, 120, 200])
def test_a_folder_is_summed_up_at_any_width(out, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = told(capsys, "show", "runs/first")
    for name in ("base seed 0", "base seed 1", "evolution seed 0", "evolution seed 1"):
        assert name in text
    score = result(read_entry(out / "base-seed0" / "entry.json")).score or 0.0
    assert f"{100 * score:.1f}" in text
    assert max(map(len, text.splitlines()[:-2])) <= columns


def test_without_a_name_the_latest_run_is_shown(out, capsys):
    assert "runs/first: 4 runs" in told(capsys, "show")
    assert main([*RUN, *SMALL, "--method", "base", "--run-dir", "runs/second"]) == 0
    capsys.readouterr()
    assert "runs/second: finished" in told(capsys, "show")


def test_without_any_run_the_sentence_says_how_to_make_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["show"]) == 2
    assert "no run in runs/ yet; type harness run" in capsys.readouterr().err


def test_json_of_runs_holds_facts_curve_and_prompts(out, capsys):
    (run,) = json.loads(told(capsys, "show", "runs/first/evolution-seed1", "--json"))["runs"]
    entry = read_entry(out / "evolution-seed1" / "entry.json")
    assert run["score"] == result(entry).score and run["seed"] == 1
    assert [r["round"] for r in run["curve"]] == [0]
    assert run["selected_prompt"] and run["prompts"]
    assert len(json.loads(told(capsys, "show", "runs/first", "--json"))["runs"]) == 4


def test_a_narrow_table_cuts_no_number():
    table = FittedTable(("run", "episodes", "score"), [("espl of the future", "123,456", "98.7")])
    for width in (20, 24, 30, 60):
        console = Console(width=width, file=io.StringIO())
        with console.capture() as captured:
            console.print(table)
        text = captured.get()
        assert "123,456" in text and "98.7" in text
        assert max(map(len, text.splitlines())) <= width


def test_own_runs_beside_published_ones_are_marked(out, capsys):
    published = out.parent / "published"
    (out / "base-seed0").rename(published)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "PUBLISHED", published)
        text = told(capsys, "leaderboard", "runs")
        markdown = told(capsys, "leaderboard", "runs", "--markdown")
        listed = json.loads(told(capsys, "leaderboard", "runs", "--json"))["unpublished"]
    assert "base†" in text and "evolution†" in text and "base†" in markdown
    assert "1 of 2 runs of base, 2 of 2 runs of evolution" in " ".join(text.split())
    assert len(listed) == 3
    # Alone, they are nobody else's.
    assert "†" not in told(capsys, "leaderboard", "runs/first")


def boards_of(out, scores):
    """Leaderboards of one Track each: the scores of methods on them."""
    base = read_entry(out / "base-seed0" / "entry.json").to_json()
    made = []
    for number, methods in enumerate(scores):
        for method, right in methods.items():
            raw = json.loads(base)
            raw["method"], raw["track"]["budget_episodes"] = method, 100 + number
            for index, outcome in enumerate(raw["outcomes"]):
                outcome["reward"] = float(index % 10 < right)
                outcome["success"] = index % 10 < right
            raw["schema"] = json.loads(base)["schema"]
            path = out / f"{number}-{method}.entry.json"
            path.write_text(json.dumps(raw))
            made.append(read_entry(path))
    return boards(made)


def test_a_method_alone_on_a_board_is_neither_last_nor_first(out):
    made = boards_of(out, [{"espl": 9, "rl": 5, "gepa": 6}, {"espl": 2}, {"rl": 3, "base": 1}])
    table = matrix(made)
    assert [name for name, _ in table.methods][:3] == ["espl", "gepa", "rl"]
    stars = {name: [cell.first for cell in cells if cell] for name, cells in table.methods}
    assert stars["espl"] == [True, False] and stars["rl"] == [False, True]
    # One seed has no interval over training seeds; that over items would not compare methods.
    assert {cell.interval for _, cells in table.methods for cell in cells if cell} == {"1 seed"}


def test_a_board_without_base_prints_differences(out, capsys):
    boards_of(out, [{"espl": 9, "rl": 5}])
    text = told(capsys, "leaderboard", *(str(p) for p in out.glob("*.entry.json")))
    assert re.search(r"espl − rl: \+40\.0", text)
