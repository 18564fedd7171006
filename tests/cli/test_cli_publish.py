"""`harness leaderboard add` and `verify` on real run directories."""

import json

import pytest

from harness.cli.main import main
from harness.runs.history.seal import seal_entry
from leaderboards.records.store import read_entry

RUN = ["run", "--env", "arithmetic", "--quiet", "--method", "base", "--run-dir", "out"]
SMALL = ["--test-tasks", "6", "--samples", "2", "--model", "scripted:constant=Answer: 5"]
TO = ["--to", "pub/results"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr(
        "harness.runs.history.participants.code_version", lambda: ("0123abc", False)
    )


@pytest.fixture
def out(tmp_path, capsys):
    assert main([*RUN, *SMALL, "--seeds", "0,1"]) == 0
    capsys.readouterr()
    return tmp_path / "out"


def change(path, **values):
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | values))


def test_what_is_published_is_graded_again_and_passes(out, capsys, tmp_path):
    assert main(["leaderboard", "add", "out", *TO]) == 0
    assert capsys.readouterr().out.count(": added") == 2
    assert main(["leaderboard", "verify", "pub/results"]) == 0
    shown = capsys.readouterr().out
    assert "2 entries, 24 outcomes" in shown and "24 completions graded again" in shown
    assert "nothing is wrong" in shown
    assert main(["leaderboard", "add", "out/base-seed0/entry.json", *TO]) == 0
    assert "already published" in capsys.readouterr().out
    assert main(["leaderboard", "pub/results"]) == 0
    assert "Arithmetic" in capsys.readouterr().out


def test_an_edited_reward_is_found_by_file_board_and_reply(out, capsys, tmp_path):
    assert main(["leaderboard", "add", "out", *TO]) == 0
    path = next((tmp_path / "pub" / "results").rglob("base-seed0*"))
    text = path.read_text()
    assert '"reward":0.0' in text
    path.write_text(text.replace('"reward":0.0', '"reward":1.0', 1))
    capsys.readouterr()
    assert main(["leaderboard", "verify", "pub/results", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["graded"] == 24
    problems = "\n".join(told["problems"])
    assert "was changed after it was published" in problems
    assert "reward 1 is recorded, but the completion earns 0" in problems
    assert "results.json: boards[0].rows[0].score" in problems


def test_an_environment_with_another_fingerprint_is_reported_and_not_graded(out, capsys, tmp_path):
    for seed in (0, 1):
        entry = out / f"base-seed{seed}" / "entry.json"
        told = json.loads(entry.read_text())
        told["track"]["env_fingerprint"] = "f" * 64
        entry.write_text(json.dumps(told))
        seal_entry(read_entry(entry), entry.parent)  # as a run with such data writes it
    assert main(["leaderboard", "add", "out", *TO]) == 0
    capsys.readouterr()
    assert main(["leaderboard", "verify", "pub/results"]) == 0
    shown = capsys.readouterr().out
    assert "0 completions graded again" in shown
    assert "24 outcomes not graded again" in shown and "its fingerprint differs" in shown


def test_a_seeded_environment_is_graded_by_its_own_seed(tmp_path, capsys):
    words = ["run", "--env", "calibration/told", "--quiet", "--method", "base", *SMALL]
    assert main([*words, "--seed", "3", "--run-dir", "told"]) == 0
    assert main(["leaderboard", "add", "told", *TO]) == 0
    capsys.readouterr()
    assert main(["leaderboard", "verify", "pub/results", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["graded"] == 12


def test_an_agent_chosen_after_test_was_opened_is_refused(out, capsys, tmp_path):
    agents = [{"prompt": "000000000000", "policy_version": 0}]
    change(out / "base-seed1" / "opening.json", agents=agents)
    assert main(["leaderboard", "add", "out", *TO]) == 5
    assert "selected afterwards" in capsys.readouterr().err
    assert not (tmp_path / "pub").exists()
    assert main(["leaderboard", "add", "out/base-seed0", *TO]) == 0


@pytest.mark.parametrize(
    ("opened", "said"),
    [
        ("2999-01-01T00:00:00+00:00", "after its entry was made"),
        ("yesterday", "does not say when"),
        ("2020-01-01T00:00:00", "does not say when"),
    ],
)
def test_the_time_of_the_held_out_evaluation_must_precede_the_entry(out, opened, said, capsys):
    change(out / "base-seed0" / "opening.json", opened=opened)
    assert main(["leaderboard", "add", "out/base-seed0", *TO]) == 5
    assert said in capsys.readouterr().err


def test_outcomes_that_are_not_those_of_the_run_are_refused(out, capsys):
    log = out / "base-seed0" / "test.jsonl"
    log.write_text(log.read_text().replace('"reward": 0.0', '"reward": 1.0', 1))
    assert main(["leaderboard", "add", "out", *TO]) == 5
    assert "other outcomes in test.jsonl" in capsys.readouterr().err


def test_uncommitted_code_and_unknown_fields_are_refused(out, capsys, monkeypatch):
    entry = out / "base-seed0" / "entry.json"
    change(entry, fame=1)
    assert main(["leaderboard", "add", "out", *TO]) == 5
    assert "fame" in capsys.readouterr().err
    monkeypatch.setattr("harness.runs.history.participants.code_version", lambda: ("0123abc", True))
    assert main([*RUN[:-1], "dirty", *SMALL]) == 0
    assert main(["leaderboard", "add", "dirty", *TO]) == 5
    assert "uncommitted code" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["add", *TO], 2, "Name the runs to publish"),
        (["add", "nowhere", *TO], 2, "holds no run"),
        (["add", "alone.json", *TO], 2, "is an entry without its run"),
        (["verify", "nowhere"], 2, "nowhere is not a folder"),
        (["verify", "a", "b"], 2, "One folder of published entries at a time"),
        (["runs", *TO], 2, "--to belongs to harness leaderboard add"),
        (["--data-dir", "x"], 2, "--data-dir belongs to harness leaderboard verify"),
        (["verify", "--markdown"], 2, "takes no --markdown"),
    ],
)
def test_unpublishable_runs_are_refused_in_one_sentence(words, code, said, capsys, tmp_path):
    (tmp_path / "alone.json").write_text("{}")
    assert main(["leaderboard", *words]) == code
    assert said in capsys.readouterr().err


def test_an_unfinished_run_is_not_published(out, capsys):
    (out / "base-seed1" / "entry.json").unlink()
    assert main(["leaderboard", "add", "out", *TO]) == 5
    assert "is not finished; type harness resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("spent", "acting_tokens", 1),
        ("track", "env", "harness/Other-v1"),
        ("track", "engine", "vllm bfloat16"),
        ("provenance", "commit", "4567def"),
        ("provenance", "versions", {}),
        ("", "asked_again", 5),
        ("", "backend", {"weights": "x"}),
        ("", "notes", ["all is well"]),
    ],
)
def test_an_entry_that_was_edited_at_all_is_not_published(out, capsys, part, name, value):
    path = out / "base-seed0" / "entry.json"
    raw = json.loads(path.read_text())
    (raw[part] if part else raw)[name] = value
    path.write_text(json.dumps(raw))
    assert main(["leaderboard", "add", "out/base-seed0", *TO]) != 0
    assert "is not the entry that the run wrote" in capsys.readouterr().err
    path.unlink()
    episodes = path.with_name("test.jsonl").read_bytes()
    assert main(["resume", "out/base-seed0", "--quiet"]) == 0
    assert main(["leaderboard", "add", "out/base-seed0", *TO]) == 0
    assert path.with_name("test.jsonl").read_bytes() == episodes
