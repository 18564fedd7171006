"""Methods with the old names `cast` and `champion`, read for this version with a warning."""

import json
import warnings
from dataclasses import dataclass
from typing import Any

import pytest

import agents
from agents import MethodContext, MethodSpec
from agents.espl import ESPL, ESPLConfig
from harness.arena import Arena
from harness.budget import BudgetPlan, Shape
from harness.callbacks import Callback
from harness.cli.main import main
from harness.metered import Meter, metered
from harness.method import with_current_names
from harness.policies.base import Sampling
from harness.seeds import Seeds
from harness.storage.run_dir import Run
from harness.train import train
from harness.types import Agent, Assignment, Report, SystemPrompt

OLD = """
from dataclasses import dataclass

from agents import MethodContext, MethodSpec
from harness.types import Agent, Assignment, Report


@dataclass(frozen=True)
class Settings:
    pass


class Patient:
    '''Keeps its prompt.'''

    def __init__(self, config, inputs):
        self.inputs, self.rounds = inputs, 0

    def cast(self, round):
        whole = round.prompts * round.samples
        return [Assignment(self.inputs.root, task, whole) for task in round.tasks]

    def learn(self, rollouts):
        self.rounds += 1
        return Report({"rounds": float(self.rounds)})

    def champion(self):
        return Agent(self.inputs.root, self.inputs.policy.version)

    def state(self):
        return {"rounds": self.rounds}

    def restore(self, state):
        self.rounds = state["rounds"]


SPEC = MethodSpec(Settings, Patient, trains=False)
"""
BOTH = r"rename 'cast' to 'assign' and 'champion' to 'final_agent'"


class NumberEnv:
    """Four tasks; every completion is right."""

    briefing = "Say the number."

    def size(self, split):
        return 4

    def reset(self, *, seed=None, options=None):
        return f"number {seed}", {}

    def step(self, action):
        return "", 1.0, True, False, {"outcome": "scored", "success": True}

    def close(self):
        pass


class Old:
    """A method as it was written before, with its prompt."""

    def __init__(self, prompt: SystemPrompt) -> None:
        self.prompt, self.seen = prompt, 0

    def cast(self, round):
        return [Assignment(self.prompt, task, round.samples) for task in round.tasks]

    def learn(self, rollouts):
        self.seen += len(rollouts)
        return Report({"seen": float(self.seen)})

    def champion(self):
        return Agent(self.prompt, 0)

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = state["seen"]


def test_an_old_method_is_trained_with_a_warning_that_names_the_new_names(tmp_path, stage):
    with pytest.warns(FutureWarning, match=BOTH):
        method = with_current_names(Old(stage.root))
    plan = BudgetPlan(Shape(2, 1, 2), 3, 0)
    policy = metered(stage.context().policy, Meter(Callback()))
    run = Run(tmp_path, policy, policy.meter)
    number_env: Any = NumberEnv
    arena = Arena(lambda split: number_env(), 4, policy, plan, Sampling(), Seeds(1))
    try:
        agent = train(method, arena, run)
    finally:
        run.close()
    assert agent == Agent(stage.root, 0)
    assert method.state() == {"seen": 12}


def test_a_subclass_of_a_current_method_may_still_override_the_old_name(stage):
    class Mine(ESPL):
        def cast(self, round):
            return []

    with pytest.warns(FutureWarning, match="rename 'cast' to 'assign'"):
        method: Any = with_current_names(Mine(ESPLConfig(), stage.context()))
    assert method.assign(stage.round()) == []
    assert method.final_agent().prompt == stage.root
    assert method.reflects_concurrently is False


def test_a_method_with_both_names_uses_the_new_ones_without_a_warning(stage):
    class Both(Old):
        def cast(self, round):
            raise AssertionError("the old name is not called")

        def assign(self, round):
            return []

        def final_agent(self):
            return Agent(self.prompt, 1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method = with_current_names(Both(stage.root))
    assert method.assign(stage.round()) == [] and method.final_agent().policy_version == 1


def test_old_fields_of_the_context_are_read_with_a_warning(stage):
    context = stage.context()
    with pytest.warns(FutureWarning, match=r"context\.root is now context\.initial_prompt"):
        assert context.root == stage.root
    with pytest.warns(FutureWarning, match=r"context\.reflection_model"):
        assert context.reflector is context.reflection_model
    with pytest.raises(AttributeError, match="no field 'nonsense'"):
        _ = context.nonsense


def test_make_accepts_an_old_method(monkeypatch, stage):
    @dataclass(frozen=True)
    class Settings:
        pass

    def old(config, context) -> Any:
        return Old(context.initial_prompt)

    spec = MethodSpec(Settings, old, trains=False)
    monkeypatch.setattr("agents.registry.spec", lambda name: spec)
    with pytest.warns(FutureWarning, match=BOTH):
        method = agents.make("old", Settings(), stage.context())
    assert isinstance(stage.context(), MethodContext)
    assert [a.samples for a in method.assign(stage.round(tasks=2, prompts=1, samples=3))] == [3, 3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_command_line_checks_an_old_method(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "old_patient.py").write_text(OLD)
    assert main(["method", "check", "old_patient:SPEC", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"]
