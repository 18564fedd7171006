"""Tests of the method; run them with: python -m pytest test_duel.py."""

from agents import MethodContext
from harness.policies.base import Sampling
from harness.policies.scripted import ScriptedPolicy
from harness.round_data import Group, Rollouts, Round
from harness.runs.starters.duel import SPEC, Duel, DuelConfig
from harness.seeds import Seeds
from harness.types import Assignment, Completion, Ending, Episode, Finish, SystemPrompt, Task, Turn


def made() -> Duel:
    """The method, with a reflection model that always proposes the same principle."""
    policy = ScriptedPolicy(lambda request: "ADD: Look twice.")
    sampling = Sampling()
    context = MethodContext(SystemPrompt("Be brief."), policy, policy, sampling, sampling)
    method = SPEC.build(DuelConfig(), context)
    assert isinstance(method, Duel)
    return method


def rollouts(
    round: Round, assignments: list[Assignment], rewards: dict[str, list[float]]
) -> Rollouts:
    """Rollouts with given rewards: by prompt, one for each sample."""
    groups = (Group(a, tuple(_episodes(a, rewards[a.prompt.id]))) for a in assignments)
    return Rollouts(round, tuple(groups))


def _episodes(assignment: Assignment, rewards: list[float]) -> list[Episode]:
    completion = Completion("5", Finish.STOP, 1)
    return [
        Episode(
            prompt_id=assignment.prompt.id,
            task=assignment.task,
            sample=sample,
            policy_version=0,
            turns=(Turn("2 + 3?", completion, reward),),
            ending=Ending.TERMINATED,
            reward=reward,
            success=reward == 1.0,
        )
        for sample, reward in enumerate(rewards)
    ]


ROUND = Round(0, (Task("train", 0),), prompts=2, samples=2, seeds=Seeds(0))


def test_the_better_prompt_stays() -> None:
    """A challenger that earned more takes over."""
    method = made()
    method.learn(rollouts(ROUND, method.assign(ROUND), {method.best.id: [1.0, 0.0, 0.0, 1.0]}))
    root, challenger = method.best, method.challenger
    assert challenger is not None and challenger.principles == ("Look twice.",)
    rewards = {root.id: [0.0, 1.0], challenger.id: [1.0, 1.0]}
    method.learn(rollouts(ROUND, method.assign(ROUND), rewards))
    assert method.final_agent().prompt == challenger


def test_a_round_uses_no_more_episodes_than_it_has() -> None:
    """1 task × 2 prompts × 2 samples, with and without a challenger."""
    method = made()
    assert sum(one.samples for one in method.assign(ROUND)) == 4
    method.challenger = SystemPrompt("Be brief.", ("Look twice.",))
    assert sum(one.samples for one in method.assign(ROUND)) == 4


def test_restore_continues_from_state() -> None:
    """`restore` brings back all that `state` returned."""
    method, other = made(), made()
    method.challenger = SystemPrompt("Be brief.", ("Look twice.",))
    other.restore(method.state())
    assert (other.best, other.challenger) == (method.best, method.challenger)
