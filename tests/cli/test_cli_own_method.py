"""One's own method on the command line: new, check, run."""

import json
import sys

import pytest

from envs.checks.env_check import CheckResult
from harness.cli.main import main
from harness.runs.checks import method_check

FORGETFUL = '''
import random
from dataclasses import dataclass

from agents import MethodContext, MethodSpec
from harness.types import Agent, Assignment, Report


@dataclass(frozen=True)
class Settings:
    greed: int = 1


class Forgetful:
    """Remembers nothing, and casts as often as it is greedy."""

    def __init__(self, config, context: MethodContext) -> None:
        self.config, self.context, self.rounds = config, context, 0

    def assign(self, round):
        whole = round.prompts * round.samples * self.config.greed
        return [Assignment(self.context.initial_prompt, task, whole) for task in round.tasks]

    def learn(self, rollouts):
        self.rounds += 1
        return Report()

    def final_agent(self):
        return Agent(self.context.initial_prompt, self.context.policy.version)

    def state(self):
        return {"rounds": self.rounds}

    def restore(self, state):
        pass


SPEC = MethodSpec(Settings, Forgetful, trains=TRAINS)
'''


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [m for m in sys.modules if m.startswith("own_")]:
        sys.modules.pop(name)


@pytest.mark.slow
def test_a_new_method_passes_its_checks(capsys):
    assert main(["method", "new", "own_duel"]) == 0
    assert "harness method check own_duel:SPEC" in capsys.readouterr().out
    assert main(["method", "check", "own_duel:SPEC", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [c["check"] for c in told["checks"]] == list(method_check.CHECKS)
    assert told["passed"] and {c["status"] for c in told["checks"]} == {"passed"}


@pytest.mark.slow
def test_a_method_that_forgets_is_found(tmp_path, capsys):
    (tmp_path / "own_forgetful.py").write_text(FORGETFUL.replace("TRAINS", "False"))
    assert main(["method", "check", "own_forgetful:SPEC", "--json"]) == 1
    checks = {c["check"]: c for c in json.loads(capsys.readouterr().out)["checks"]}
    failed = [name for name, c in checks.items() if c["status"] == "failed"]
    assert failed == ["remembers all it needs", "resumes exactly"]
    assert "'rounds' differs" in checks["remembers all it needs"]["said"]
    assert "population.jsonl differs from an uninterrupted run" in checks["resumes exactly"]["said"]


@pytest.mark.slow
def test_a_method_that_casts_too_much_is_found(tmp_path, capsys):
    (tmp_path / "own_greedy.py").write_text(FORGETFUL.replace("TRAINS", "False"))
    words = ["method", "check", "own_greedy:SPEC", "--set", "method.greed=2"]
    assert main(words) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "The method assigned 64 episodes in round 0, but a round has 32" in out
    assert "resumes exactly" not in out


def test_a_method_in_the_current_folder_runs_by_its_module(tmp_path, capsys):
    (tmp_path / "own_calm.py").write_text(FORGETFUL.replace("TRAINS", "False"))
    words = ["run", "--env", "arithmetic", "--method", "base,own_calm:SPEC", "--episodes", "16"]
    words += ["--test-tasks", "4", "--samples", "1", "--model", "scripted:constant=Answer: 5"]
    assert main([*words, "--run-dir", "out", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [run["method"] for run in told["runs"]] == ["base", "own_calm:SPEC"]
    assert told["runs"][1]["episodes"] == 16
    assert main(["resume", "out", "--json"]) == 0


def test_the_last_line_counts_what_passed(capsys):
    found = [
        CheckResult("one", "passed", "a"),
        CheckResult("two", "failed", "b"),
        CheckResult("3", "not asked", "c"),
    ]
    from harness.cli.commands.check_env import finish

    assert finish("mine", found, as_json=False) == 1
    assert "mine: 1 of 3 passed, 1 failed (two)" in capsys.readouterr().out
    assert finish("mine", found[::2], as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
