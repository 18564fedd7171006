"""A user's own environment and method on the command line: options, new, check."""

import json
import subprocess
import sys
import tomllib

import gymnasium
import pytest

from harness.cli.main import main

ECHO = ["--model", "scripted:constant=Answer: 3", "--method", "base", "--quiet"]
SMALL = ["--test-tasks", "4", "--samples", "1"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture
def letters(capsys):
    """A new world under a name of its own: modules stay imported in this process."""
    assert main(["env", "new", "own_letters"]) == 0
    capsys.readouterr()
    yield "own_letters:Mine/OwnLetters-v0"
    sys.modules.pop("own_letters", None)
    gymnasium.registry.pop("Mine/OwnLetters-v0", None)


def errors(capsys):
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_environment_options_are_stored_and_used_by_show_and_eval(letters, capsys, tmp_path):
    words = ["run", "--env", letters, "--set", "env.longest=12", *ECHO, *SMALL]
    assert main([*words, "--run-dir", "out"]) == 0
    told = tomllib.loads((tmp_path / "out" / "config.toml").read_text())
    assert told["env"]["longest"] == 12
    capsys.readouterr()
    assert main(["show", "out"]) == 0
    assert "longest = 12" in capsys.readouterr().out
    assert main(["eval", "out", "--json"]) == 0
    entry = json.loads((tmp_path / "out" / "entry.json").read_text())
    assert entry["provenance"]["command"][-2:] == ["--set", "env.longest = 12"]
    assert main([*words[:3], *ECHO, *SMALL, "--run-dir", "plain"]) == 0
    plain = json.loads((tmp_path / "plain" / "entry.json").read_text())
    assert plain["track"]["env_fingerprint"] != entry["track"]["env_fingerprint"]


def test_options_stand_in_a_config_file_too(letters, tmp_path):
    (tmp_path / "mine.toml").write_text("[env]\nlongest = 9\n")
    words = ["run", "--env", letters, "--config", "mine.toml", *ECHO, *SMALL, "--run-dir", "out"]
    assert main(words) == 0
    assert tomllib.loads((tmp_path / "out" / "config.toml").read_text())["env"]["longest"] == 9


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("env.longst=12", "no option 'longst'. Did you mean 'longest'"),
        ("env.longest=many", "takes a value of type int for 'longest', not 'many'"),
        ("env.split=test", "leave it out: training uses train"),
        ("evn.longest=3", "Did you mean 'env'"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_anything_is_written(
    option, said, letters, capsys, tmp_path
):
    assert main(["run", "--env", letters, "--set", option, *ECHO, *SMALL]) == 2
    assert said in errors(capsys)
    assert not (tmp_path / "runs").exists()


def test_the_path_of_a_jsonl_file_is_not_published(capsys, tmp_path):
    rows = [{"question": f"How much is {n} - {n} + 3?", "answer": 3} for n in range(20)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["run", "--env", "jsonl:q.jsonl", *ECHO, "--run-dir", "out", "--json"]
    assert main(words) == 2
    assert "No grader was named" in errors(capsys)
    assert main([*words, "--set", "env.grader=number"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["score"] == 1.0
    text = (tmp_path / "out" / "entry.json").read_text()
    assert str(tmp_path) not in text and "How much" not in text
    entry = json.loads(text)
    assert entry["track"]["env"] == "harness/JSONL-v1"
    assert "jsonl:q.jsonl" in entry["provenance"]["command"]
    stored = tomllib.loads((tmp_path / "out" / "config.toml").read_text())
    assert stored["env"]["name"] == f"jsonl:{(tmp_path / 'q.jsonl').resolve()}"


def test_a_gymnasium_environment_without_a_reference_solution_runs(capsys):
    words = ["run", "--env", "FrozenLake-v1", "--set", "env.is_slippery=false", *SMALL, "--json"]
    words += ["--set", "env.max_steps=3", "--method", "base", "--run-dir", "out"]
    assert main([*words, "--model", "scripted:constant=Action: 2"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    assert (run["score"], run["truncated"], run["unscored"]) == (0.0, 4, 0)


def test_an_image_environment_is_refused_in_a_sentence(capsys):
    code = (
        "import gymnasium, numpy\n"
        "class Picture(gymnasium.Env):\n"
        "    observation_space = gymnasium.spaces.Box(0, 255, (84, 84, 3), numpy.uint8)\n"
        "    action_space = gymnasium.spaces.Discrete(2)\n"
        "gymnasium.register('Mine/Picture-v0', entry_point=Picture)\n"
    )
    with open("own_picture.py", "w") as file:
        file.write(code)
    assert main(["run", "--env", "own_picture:Mine/Picture-v0", *ECHO]) == 2
    assert "env.wrapper=module:Class" in errors(capsys)


def test_env_list_shows_families_as_one_row_and_their_members_when_asked(capsys):
    assert main(["env", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"arithmetic", "jsonl:PATH", "reasoning_gym/TASK"} <= set(rows)
    assert not any(name.startswith("reasoning_gym/g") for name in rows)
    assert main(["env", "list", "reasoning"]) == 2
    assert "Did you mean 'reasoning_gym'" in errors(capsys)


def test_env_show_lists_options_with_their_defaults(letters, capsys):
    assert main(["env", "show", letters]) == 0
    assert "--set env.longest=… 8" in " ".join(capsys.readouterr().out.split())
    assert main(["env", "show", "hmmt"]) == 0
    assert "--accept-data" in capsys.readouterr().out
    assert main(["env", "show", "FrozenLake-v1"]) == 0
    assert "env.is_slippery=… true" in " ".join(capsys.readouterr().out.split())


def test_a_new_environment_passes_its_checks_and_its_test(letters, capsys):
    assert main(["env", "check", letters, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    left = {c["check"]: c["said"] for c in told["checks"] if c["status"] != "passed"}
    # It gives texts, which are not compared with a declared space.
    assert told["passed"] and list(left.values()) == ["It gives texts; the other checks read them."]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_own_letters.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_failed_check_is_exit_code_one_and_a_cross(letters, capsys, tmp_path):
    path = tmp_path / "own_letters.py"
    broken = path.read_text().replace('Verdict.wrong("Wrong: the', 'Verdict.right("Right: the')
    path.write_text(broken.replace("own_letters", "own_broken").replace("OwnLetters", "OwnBroken"))
    path.rename(tmp_path / "own_broken.py")
    assert main(["env", "check", "own_broken:Mine/OwnBroken-v0"]) == 1
    out = capsys.readouterr().out
    assert "✗" in out and "failed (" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["env", "new", "Bad-Name"], 2, "use small letters"),
        (["env", "new", "class"], 2, "cannot be the name"),
        (["env", "new", "json"], 2, "There is a module 'json' already"),
        (["env", "new", "fine", "--dir", "afile"], 2, "cannot be written"),
        (["env", "check", "arithmetik"], 2, "Did you mean 'arithmetic'"),
        (["env", "check", "arithmetic", "--set", "env.x=1"], 2, "no option 'x'"),
        (["env", "check", "arithmetic", "--set", "budget.tasks=1"], 2, "env.KEY=VALUE only"),
        (["env", "check", "aime25", "--data-dir", "empty"], 3, "no file dapo_100.jsonl"),
        (["method", "check", "esspl"], 2, "Did you mean 'espl'"),
        (["method", "check", "nowhere:SPEC"], 2, "There is no module 'nowhere'"),
        (["method", "show", "json:SPEC"], 2, "has no 'SPEC'"),
        (["method", "show", "json:dumps"], 2, r"should be an agents.context.MethodSpec"),
    ],
)
def test_new_and_check_refuse_in_one_sentence(words, code, said, capsys, tmp_path):
    (tmp_path / "afile").write_text("")
    (tmp_path / "empty").mkdir()
    assert main(words) == code
    assert said in errors(capsys)


def test_nothing_is_overwritten(letters, capsys, tmp_path):
    sys.modules.pop("own_letters", None)
    (tmp_path / "own_letters.py").unlink()
    before = (tmp_path / "test_own_letters.py").read_bytes()
    assert main(["env", "new", "own_letters"]) == 2
    assert "is not overwritten" in errors(capsys)
    assert (tmp_path / "test_own_letters.py").read_bytes() == before
    assert not (tmp_path / "own_letters.py").exists()
