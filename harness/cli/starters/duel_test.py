"""What the method must keep to; run it with: python -m pytest test_duel.py."""

from agents import MethodContext
from harness.cli.starters.duel import SPEC, Duel, DuelConfig
from harness.policies.base import Sampling
from harness.policies.scripted import ScriptedPolicy
from harness.round_data import Group, Rollouts, Round
from harness.seeds import Seeds
from harness.types import Assignment, Completion, Ending, Episode, Finish, SystemPrompt, Task, Turn


def made() -> Duel:
    """The method, whose reflector always proposes the same principle."""
    policy = ScriptedPolicy(lambda request: "ADD: Look twice.")
    sampling = Sampling()
    context = MethodContext(SystemPrompt("Be brief."), policy, policy, sampling, sampling)
    method = SPEC.build(DuelConfig(), context)
    assert isinstance(method, Duel)
    return method


def played(round: Round, cast: list[Assignment], worth: dict[str, list[float]]) -> Rollouts:
    """A round whose rewards are given: by prompt, one for each sample."""
    return Rollouts(round, tuple(Group(c, tuple(_episodes(c, worth[c.prompt.id]))) for c in cast))


def _episodes(cast: Assignment, rewards: list[float]) -> list[Episode]:
    said = Completion("5", Finish.STOP, 1)
    return [
        Episode(
            prompt_id=cast.prompt.id,
            task=cast.task,
            sample=sample,
            policy_version=0,
            turns=(Turn("2 + 3?", said, reward),),
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
    method.learn(played(ROUND, method.assign(ROUND), {method.best.id: [1.0, 0.0, 0.0, 1.0]}))
    root, challenger = method.best, method.challenger
    assert challenger is not None and challenger.principles == ("Look twice.",)
    worth = {root.id: [0.0, 1.0], challenger.id: [1.0, 1.0]}
    method.learn(played(ROUND, method.assign(ROUND), worth))
    assert method.final_agent().prompt == challenger


def test_a_round_plays_no_more_than_it_affords() -> None:
    """1 task × 2 prompts × 2 samples, with and without a challenger."""
    method = made()
    assert sum(cast.samples for cast in method.assign(ROUND)) == 4
    method.challenger = SystemPrompt("Be brief.", ("Look twice.",))
    assert sum(cast.samples for cast in method.assign(ROUND)) == 4


def test_what_is_remembered_is_all_there_is() -> None:
    """What `state` gives, `restore` takes back."""
    method, other = made(), made()
    method.challenger = SystemPrompt("Be brief.", ("Look twice.",))
    other.restore(method.state())
    assert (other.best, other.challenger) == (method.best, method.challenger)
