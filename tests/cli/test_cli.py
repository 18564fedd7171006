"""The command line as a user meets it: what is typed, what comes back, with which exit code."""

import json
import signal
import subprocess
import sys
import time
import tomllib

import pytest
from standin import served

from envs import TextEnv
from harness.cli.main import main

RUN = ["run", "--env", "arithmetic", "--model", "scripted:constant=Answer: 5", "--quiet"]
BASE = ["--method", "base"]
SMALL = ["--episodes", "16", "--test-tasks", "4", "--samples", "2"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def summary(capsys):
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["rum"], 2, "Did you mean 'run'"),
        (["run", "--episods", "3"], 2, "Did you mean '--episodes'"),
        (["run", "--episodes", "few"], 2, "a whole number from 0 on"),
        (["run", "--seeds", "1,1"], 2, "different numbers"),
        (["run", "--env", "arithmetik"], 2, "Did you mean 'arithmetic'"),
        (["run", "--method", "espll"], 2, "Did you mean 'espl'"),
        (["run", "--model", "smolm2"], 2, "Did you mean 'smollm2'"),
        (["run", "--preset", "labtop"], 2, "Did you mean 'laptop'"),
        (["run", "--set", "method.learning_rat=1"], 2, "Did you mean 'learning_rate'"),
        (["run", "--set", "budget.task=1"], 2, "Did you mean 'tasks'"),
        (["run", "--config", "nowhere.toml"], 2, "nowhere.toml cannot be read"),
        (["run", "--prompt", "nowhere.txt"], 2, "nowhere.txt cannot be read"),
        (["run", "--method", "base,base"], 2, "named twice"),
        (["run", "--seed", "3", "--set", "run.seed=4"], 2, "Both --seed and run.seed"),
        (["run", "--method", "base", "--set", "method.edits=2"], 2, "base has no settings"),
        ([*RUN, *BASE, "--set", "evaluation.temperature=-1"], 2, "evaluation.temperature is -1"),
        ([*RUN, *BASE, "--set", "sampling.top_p=2"], 2, "must be at least"),
        ([*RUN, *BASE, "--set", "sampling.temperature=nan"], 2, "sampling.temperature is nan"),
        ([*RUN, *BASE, "--set", "evaluation.tasks=-2"], 2, "evaluation.tasks is -2"),
        ([*RUN, *BASE, "--set", "model.batch_rows=0"], 2, "model.batch_rows is 0"),
        ([*RUN, "--method", "evolution", "--episodes", "1"], 2, "less than one group"),
        ([*RUN, "--method", "evolution", "--set", "budget.samples=1"], 2, "budget.samples is 1"),
        (["run", "--model", "hf:./nope", "--method", "base"], 4, "no model folder ./nope"),
        (["run", "--model", "scripted:nope", "--method", "base"], 2, "nope"),
        (["run", "--model", "openai:localhost", "--method", "base"], 2, "localhost"),
        ([*RUN, "--method", "base", "--run-dir", "afile"], 2, "afile is a file"),
        (["run", "--config", "flat.toml"], 2, "outside of a section"),
        (["resume", "nowhere"], 2, "holds no run"),
        (["show", "nowhere"], 2, "holds no run"),
        (["leaderboard", "nowhere"], 2, "does not exist"),
        (["env", "show", "nothing"], 2, "There is no environment"),
        (["run", "--env", "aime25", "--data-dir", "empty"], 3, "no file dapo_100.jsonl"),
        ([*RUN, "--method", "rl"], 4, "cannot be trained"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_an_exit_code(
    words, code, said, capsys, tmp_path, monkeypatch
):
    monkeypatch.delenv("HARNESS_DATA_DIR", raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "afile").write_text("")
    (tmp_path / "flat.toml").write_text("env = 3")
    assert main(words) == code
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert err.startswith("harness: ") and said in err
    assert not (tmp_path / "runs").exists()


def test_methods_and_seeds_each_get_a_run_and_one_board(capsys, tmp_path):
    words = [*RUN, *SMALL, "--method", "base,evolution", "--seeds", "0,1", "--run-dir", "out"]
    assert main([*words, "--json"]) == 0
    told = summary(capsys)
    assert [(r["method"], r["seed"]) for r in told["runs"]] == [
        *(("base", 0), ("base", 1)),
        *(("evolution", 0), ("evolution", 1)),
    ]
    assert [r["episodes"] for r in told["runs"]] == [0, 0, 16, 16]
    assert len(told["boards"]) == 1
    assert {row["method"] for row in told["boards"][0]["rows"]} == {"base", "evolution"}
    assert (tmp_path / "out" / "evolution-seed1" / "entry.json").exists()


def test_a_finished_run_resumes_to_the_same_summary(capsys):
    assert main([*RUN, *SMALL, "--method", "evolution", "--run-dir", "out", "--json"]) == 0
    first = summary(capsys)
    assert main(["resume", "out", "--json", "--quiet"]) == 0
    assert summary(capsys) == first


def test_a_folder_that_holds_a_run_is_not_run_over(capsys):
    assert main([*RUN, *SMALL, "--method", "base", "--run-dir", "out"]) == 0
    assert main([*RUN, *SMALL, "--method", "base", "--run-dir", "out"]) == 2
    assert "harness resume out" in capsys.readouterr().err


def test_the_resolved_request_is_written_whole(tmp_path):
    (tmp_path / "root.txt").write_text("Count on your fingers.\n")
    words = ["--prompt", "root.txt", "--set", "method.newest_k=3", "--set", "sampling.top_p=0.9"]
    assert main([*RUN, *SMALL, *words, "--method", "evolution", "--run-dir", "out"]) == 0
    told = tomllib.loads((tmp_path / "out" / "config.toml").read_text())
    assert told["run"]["prompt"] == "Count on your fingers."
    assert (told["method"]["newest_k"], told["method"]["ucb_lambda"]) == (3, 2.0)
    assert told["sampling"]["top_p"] == 0.9
    assert told["budget"]["episodes"] == 16


def test_a_config_file_is_weaker_than_set_and_stronger_than_a_preset(tmp_path):
    (tmp_path / "mine.toml").write_text("[budget]\ntasks = 2\nsamples = 3\n")
    words = ["--config", "mine.toml", "--set", "budget.samples=2", "--preset", "laptop"]
    assert main([*RUN, *SMALL, *words, "--method", "evolution", "--run-dir", "out"]) == 0
    budget = tomllib.loads((tmp_path / "out" / "config.toml").read_text())["budget"]
    assert (budget["tasks"], budget["prompts"], budget["samples"]) == (2, 2, 2)


def test_a_runs_own_request_asks_for_the_same_run_again(capsys, tmp_path):
    first = [*RUN, *SMALL, "--method", "evolution", "--seed", "3", "--run-dir", "one", "--json"]
    assert main(first) == 0
    one = summary(capsys)["runs"][0]
    again = ["run", "--config", "one/config.toml", "--preset", "laptop", "--run-dir", "two"]
    assert main([*again, "--json"]) == 0
    two = summary(capsys)["runs"][0]
    assert (two["seed"], two["track"], two["score"]) == (3, one["track"], one["score"])
    logs = [(tmp_path / n / "episodes.jsonl").read_bytes() for n in ("one", "two")]
    assert logs[0] == logs[1]


def test_a_folder_whose_run_never_began_can_be_used_again(capsys, tmp_path):
    with served(lambda body, earlier: (401, {"error": {"message": "no"}})) as (url, _):
        words = ["run", "--env", "arithmetic", "--model", url, "--method", "base,evolution"]
        assert main([*words, "--run-dir", "out"]) == 4
    assert main([*RUN, *SMALL, "--method", "base", "--run-dir", "out"]) == 0
    assert (tmp_path / "out" / "entry.json").exists()
    # What is left of the other runs are their locks, which another start may hold.
    left = [path.name for path in (tmp_path / "out").glob("*-seed0/*")]
    assert set(left) <= {"run.lock"}


def test_a_folder_of_other_things_is_left_alone(capsys, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert main([*RUN, *SMALL, "--method", "base", "--run-dir", "out"]) == 2
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_a_run_does_not_go_on_with_other_data(capsys, tmp_path, monkeypatch):
    assert main([*RUN, *SMALL, "--method", "evolution", "--run-dir", "out"]) == 0
    (tmp_path / "out" / "entry.json").unlink()
    monkeypatch.setattr(TextEnv, "fingerprint", lambda self: "0" * 64)
    assert main(["resume", "out"]) == 5
    assert "began with other environment" in capsys.readouterr().err


def test_aliases_of_one_environment_share_a_track(capsys):
    tracks = []
    for name, folder in (("arithmetic", "a"), ("harness/Arithmetic-v1", "b")):
        words = ["run", "--env", name, "--model", "scripted:echo", *SMALL, "--run-dir", folder]
        assert main([*words, "--method", "base", "--json"]) == 0
        tracks.append(summary(capsys)["runs"][0]["track"])
    assert tracks[0] == tracks[1]


def test_what_a_finished_run_has_settled_cannot_be_asked_again(capsys):
    assert main([*RUN, *SMALL, "--method", "base", "--run-dir", "out"]) == 0
    assert main(["eval", "out", "--model", "smollm2"]) == 2
    assert "leave out --model" in capsys.readouterr().err
    assert main(["eval", "out", "--test-tasks", "3", "--json"]) == 0
    assert summary(capsys)["tasks"] == 3


def test_a_budget_that_does_not_fit_reports_the_unused_episodes(capsys):
    words = [*RUN, "--method", "evolution", "--episodes", "50", "--run-dir", "out"]
    assert main(words) == 0
    assert "18 of them stay unused" in " ".join(capsys.readouterr().err.split())


def test_version_prints_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("harness ")


def test_the_board_shows_and_lists_what_was_run(capsys):
    assert main([*RUN, *SMALL, "--method", "evolution", "--run-dir", "runs/one"]) == 0
    assert "evolution" in capsys.readouterr().out
    for words in (["leaderboard"], ["leaderboard", "--markdown"], ["show", "runs/one"]):
        assert main(words) == 0
        assert "evolution" in capsys.readouterr().out
    assert main(["leaderboard", "--json"]) == 0
    assert summary(capsys)["boards"][0]["rows"][0]["method"] == "evolution"


def test_a_champion_is_evaluated_again_on_validation_beside_its_run(capsys, tmp_path):
    assert main([*RUN, *SMALL, "--method", "evolution", "--run-dir", "out"]) == 0
    before = (tmp_path / "out" / "entry.json").read_bytes()
    assert main(["eval", "out", "--test-tasks", "6"]) == 0
    record = json.loads(next((tmp_path / "out").glob("analysis-validation-*Z.json")).read_text())
    assert (record["split"], record["tasks"], record["samples"]) == ("validation", 6, 2)
    assert (tmp_path / "out" / "entry.json").read_bytes() == before


def test_eval_without_a_run_is_the_base_row(capsys):
    words = ["eval", "--env", "arithmetic", "--model", "scripted:echo", *SMALL, "--json"]
    assert main(words) == 0
    run = summary(capsys)["runs"][0]
    assert (run["method"], run["episodes"]) == ("base", 0)


def test_a_prompt_is_exported_as_text(capsys, tmp_path):
    assert main([*RUN, *SMALL, "--method", "base", "--run-dir", "out"]) == 0
    assert main(["export", "out", "--to", "mine"]) == 0
    assert "Answer:" in (tmp_path / "mine" / "system_prompt.txt").read_text()
    assert main(["export", "out", "--to", "mine"]) == 2
    (tmp_path / "out" / "config.toml").write_text("[model\n")
    assert main(["export", "out", "--to", "other"]) == 2
    assert not (tmp_path / "other").exists()  # refused before anything is written


def test_python_gets_what_the_command_line_prints(tmp_path):
    import harness

    told = harness.run(
        env="arithmetic",
        methods=["base"],
        model="scripted:constant=Answer: 5",
        test_tasks=4,
        samples=2,
        run_dir=tmp_path / "out",
    )
    assert told.entries[0].method == "base"
    assert "| base |" in told.text


def test_interrupting_once_saves_and_says_how_to_go_on(tmp_path):
    slow = (
        "import harness.policies.scripted as s, time\n"
        "inner = s.ScriptedPolicy._answer\n"
        "def answer(self, request):\n    time.sleep(0.02)\n    return inner(self, request)\n"
        "s.ScriptedPolicy._answer = answer\n"
        "from harness.cli import main\nraise SystemExit(main())"
    )
    words = [*RUN, "--method", "evolution", "--episodes", "3200", "--run-dir", "out"]
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *words], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    rounds = tmp_path / "out" / "rounds.jsonl"
    for _ in range(600):
        if rounds.exists() and rounds.read_text().count("\n") >= 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "harness resume out" in err
    assert (tmp_path / "out" / "checkpoint" / "state.json").exists()
    assert not (tmp_path / "out" / "entry.json").exists()
