"""A task that is not in its split is refused, not taken for another by `reset`."""

import pytest

from envs import EnvError, make
from harness.env_pool import EnvPool
from harness.errors import UsageError
from harness.policies.base import Sampling
from harness.policies.scripted import ScriptedPolicy
from harness.rollout import RolloutConfig, rollout
from harness.seeds import Seeds
from harness.types import Assignment, SystemPrompt, Task


def played(*tasks, make_env):
    policy = ScriptedPolicy(lambda request: "2")
    table = RolloutConfig(policy, EnvPool(make_env), Sampling(max_tokens=8), Seeds(0))
    return list(rollout([Assignment(SystemPrompt(), task, 1) for task in tasks], table))


class Three:
    """A world of three test tasks."""

    def size(self, split):
        return 3 if split == "test" else 5

    def reset(self, *, seed=None, options=None):
        return str(seed), {}

    def step(self, action):
        return "", 1.0, True, False, {"success": True}

    def close(self):
        pass


@pytest.mark.parametrize("task", [Task("test", 3), Task("test", -1), Task("train", 5)])
def test_a_task_beyond_its_split_stops_before_anything_is_played(task):
    with pytest.raises(UsageError, match=f"Task {task} is not in its split"):
        played(Task("test", 0), task, make_env=lambda split: Three())


def test_every_task_of_a_split_is_played():
    tasks = [Task("test", n) for n in range(3)] + [Task("train", n) for n in range(5)]
    assert len(played(*tasks, make_env=lambda split: Three())) == 8


def test_a_world_that_cannot_be_made_still_fails_each_of_its_episodes():
    def broken(split):
        raise RuntimeError("no such world today")

    episodes = [episode for _, episode in played(Task("test", 7), make_env=broken)]
    assert [e.scored for e in episodes] == [False] and "no such world today" in episodes[0].error


def test_a_stored_reply_to_a_task_that_is_not_there_is_not_judged():
    world = make("arithmetic", "test")
    size = world.size("test")
    assert world.regrade(size - 1, world.task_at(size - 1).answer)
    for number in (size, -1):
        with pytest.raises(EnvError, match=f"has {size} test tasks, so none is number {number}"):
            world.regrade(number, "Answer: 1")
