"""Engine options that earlier versions had: runs are refused, and old run directories are read."""

import json
import shutil

import pytest
import tomli_w

from harness.cli.main import main
from harness.settings.sources import read_toml

WORLD = '''
import gymnasium
from envs import Problem, Verdict, TextEnv


class Odd(TextEnv):
    """A reply of an odd number of characters is right."""

    name = "odd"
    system_prompt = "Say something."
    reply_tokens = 6

    def size(self, split):
        return 8

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"{index % 3}", "1")

    def judge(self, reply, answer):
        return Verdict.right() if len(reply) % 2 else Verdict.wrong()


gymnasium.register("Mine/Odd-v0", entry_point="old_odd_world:Odd")
'''
OLD = {"name": "ray", "samplers": 2, "learner": "actor", "worlds": 1, "staleness": 1}
SIZES = (
    *("budget.tasks=4", "budget.prompts=1", "budget.samples=4", "sampling.max_tokens=6"),
    *("model.threads=1", "model.lora_rank=2", "evaluation.tasks=2", "evaluation.samples=1"),
)


@pytest.fixture(scope="module")
def finished(tiny_model, tmp_path_factory):
    """A finished run of two rounds that trained weights."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "old_odd_world.py").write_text(WORLD)
    words = ["run", "--env", "old_odd_world:Mine/Odd-v0", "--model", f"hf:{tiny_model}"]
    words += ["--method", "rl", "--episodes", "32", "--quiet", "--run-dir", str(folder / "run")]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        assert main(words + [w for s in SIZES for w in ("--set", s)]) == 0
        assert (folder / "run" / "checkpoint" / "policy" / "optimizer.safetensors").is_file()
        yield folder / "run"


def older_schema(place):
    """Leave out of a run directory what those versions did not write."""
    for name in ("seal.json", "test_checksum.json", "checkpoint/manifest.json"):
        (place / name).unlink(missing_ok=True)
    for name in ("seal.json",):
        (place / "checkpoint" / name).unlink(missing_ok=True)
    path = place / "checkpoint" / "state.json"
    state = json.loads(path.read_text())
    state.pop("manifest", None)
    state.pop("seal", None)
    path.write_text(json.dumps(state))


@pytest.fixture
def begun(finished, tmp_path):
    """A copy as an earlier version left it, with this `[engine]`; of one that was not tested yet
    unless `ended`.
    """

    def copy(table, ended=False):
        place = shutil.copytree(finished, tmp_path / "run")
        path = place / "config.toml"
        path.write_text(tomli_w.dumps({**read_toml(path), "engine": table}))
        older_schema(place)
        if lag := table.get("staleness"):
            facts = {"staleness": lag, "rounds": {"1": 0}, "older": [1]}
            (place / "checkpoint" / "policy" / "behind.json").write_text(json.dumps(facts))
        if not ended:
            for name in ("entry.json", "opening.json", "test.jsonl"):
                (place / name).unlink()
        return place

    return copy


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--executor", "accelerate"], "tinker:MODEL"),
        (["--executor", "ray", "--set", "engine.samplers=2"], "--data-parallel-size"),
        (["--set", "engine.staleness=1"], "0 is the only value"),
        (["--set", "engine.learner=actor"], "SkyRL"),
        (["--set", "engine.worlds=4"], "DOCKER_HOST"),
        (["--set", "engine.shard=true"], "tinker:MODEL"),
        (["--set", "engine.samplers=2"], "engine.samplers=2 was"),
        (["--set", "executor.samplers=2"], "executor.samplers=2 was"),
        # A value that meant "off" or "as ever": whoever types it still expects the option.
        (["--set", "executor.processes=2"], "executor.processes=2 was"),
        (["--set", "executor.worlds=0"], "DOCKER_HOST"),
    ],
)
def test_run_refuses_a_removed_option(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    asked = ["run", "--env", "arithmetic", "--model", "scripted:echo", "--method", "base"]
    assert main([*asked, "--quiet", *words]) == 2
    told = capsys.readouterr().err
    assert "removed from the harness" in told and said in told
    assert not list(tmp_path.iterdir())


def test_run_takes_an_old_config_whose_options_are_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.toml").write_text(
        '[engine]\nname = "serial"\nsamplers = 0\nlearner = "here"\nworlds = 0\nstaleness = 0\n'
        'shard = false\nprocesses = 2\nworld_resources = ""\n'
    )
    asked = ["run", "--env", "arithmetic", "--model", "scripted:echo", "--method", "base"]
    size = ["--test-tasks", "2", "--samples", "1", "--quiet", "--run-dir", "out"]
    assert main([*asked, *size, "--config", "old.toml"]) == 0
    assert "engine" not in read_toml(tmp_path / "out" / "config.toml")


@pytest.mark.parametrize(
    "table",
    [
        OLD,
        {"name": "ray", "samplers": 2},
        {"name": "accelerate", "processes": 2, "shard": False},
    ],
)
def test_resume_refuses_a_run_that_was_begun_with_them(begun, table, capsys):
    place = begun(table)
    before = (place / "config.toml").read_bytes()
    assert main(["resume", str(place), "--quiet"]) == 2
    told = capsys.readouterr().err
    assert "removed from the harness" in told
    assert ("--executor serial" in told) is ("staleness" not in table)
    assert ("harness run --config COPY" in told) is ("staleness" in table)
    assert "engine." in told
    assert (place / "config.toml").read_bytes() == before
    assert not (place / "entry.json").exists()


def test_resume_with_other_options_still_says_what_was_removed(begun, capsys):
    place = begun({"name": "accelerate", "processes": 4})
    assert main(["resume", str(place), "--jobs", "2"]) == 2
    told = capsys.readouterr().err
    assert "engine.name=accelerate, engine.processes=4 were removed" in told
    assert "changes nothing" not in told


def test_a_run_with_a_lag_starts_anew_from_its_config_without_it(begun, tmp_path, capsys):
    tables = read_toml(begun(OLD) / "config.toml")
    copy = tmp_path / "copy.toml"
    copy.write_text(tomli_w.dumps(tables))
    asked = ["run", "--config", str(copy), "--episodes", "16", "--quiet"]
    asked += ["--run-dir", str(tmp_path / "anew")]
    assert main(asked) == 2
    assert "engine.samplers=2" in capsys.readouterr().err
    old = ("name", "samplers", "learner", "worlds", "staleness")
    tables["engine"] = {k: v for k, v in tables["engine"].items() if k not in old}
    copy.write_text(tomli_w.dumps(tables))
    assert main(asked) == 0


def test_resume_refuses_a_removed_engine_by_name(begun, capsys):
    assert main(["resume", str(begun({"name": "serial"})), "--executor", "accelerate"]) == 2
    assert "tinker:MODEL" in capsys.readouterr().err


def test_another_engine_takes_over_what_was_shared_out_but_not_what_lagged(begun, finished, capsys):
    place = begun({"name": "ray", "samplers": 2, "sampler_cpus": 1})
    assert main(["resume", str(place), "--executor", "serial", "--quiet"]) == 0
    for name in ("test.jsonl", "champion.json"):
        assert (place / name).read_bytes() == (finished / name).read_bytes()
    shutil.rmtree(place)
    assert main(["resume", str(begun(OLD)), "--executor", "serial", "--quiet"]) == 2
    assert "0 is the only value" in capsys.readouterr().err


def test_a_checkpoint_with_a_lag_is_refused_whatever_its_config_says(begun, capsys):
    place = begun(OLD)
    path = place / "config.toml"
    path.write_text(tomli_w.dumps({**read_toml(path), "engine": {"name": "serial"}}))
    assert main(["resume", str(place), "--quiet"]) == 5
    assert "engine.staleness=1, which was removed" in capsys.readouterr().err
    (place / "checkpoint" / "policy" / "behind.json").write_text("{}")
    assert main(["resume", str(place), "--quiet"]) == 4
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("table", [OLD, {"name": "accelerate", "processes": 4, "shard": True}])
def test_finished_runs_are_read_shown_evaluated_and_exported(begun, table, tmp_path, capsys):
    place = begun(table, ended=True)
    before = (place / "config.toml").read_bytes()
    assert main(["show", str(place)]) == 0
    assert main(["eval", str(place), "--json"]) == 0
    assert main(["export", str(place), "--to", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    assert main(["resume", str(place), "--json"]) == 0
    assert main(["leaderboard", str(place)]) == 0
    assert (place / "config.toml").read_bytes() == before
    assert "Mine/Odd-v0" in capsys.readouterr().out
