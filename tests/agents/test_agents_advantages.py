import pytest

from agents.parts.rl.advantages import advantages, episode_advantages
from harness.types import Assignment, SystemPrompt

ONE, TWO = SystemPrompt("one"), SystemPrompt("two")


def test_an_advantage_is_the_distance_to_the_mean():
    assert advantages([1.0, 0.0, 0.0, 1.0]) == (0.5, -0.5, -0.5, 0.5)
    assert advantages([1.0, 0.0, 0.0, 0.0]) == (0.75, -0.25, -0.25, -0.25)


def test_a_group_with_equal_rewards_teaches_nothing():
    assert advantages([1.0, 1.0, 1.0]) == (0.0, 0.0, 0.0)


def test_rounding_never_turns_equal_rewards_into_advantages():
    # The mean of three 0.1s is 0.10000000000000002 in floating point.
    assert advantages([0.1, 0.1, 0.1], normalise=True) == (0.0, 0.0, 0.0)


def test_a_group_of_one_teaches_nothing():
    assert advantages([1.0]) == (0.0,)
    assert advantages([1.0], normalise=True) == (0.0,)
    assert advantages([]) == ()


def test_normalising_divides_by_the_sample_standard_deviation():
    # Mean 1/2, sum of squares 1, three degrees of freedom.
    scale = (1 / 3) ** 0.5 + 1e-4
    expected = [0.5 / scale, -0.5 / scale, -0.5 / scale, 0.5 / scale]
    assert advantages([1.0, 0.0, 0.0, 1.0], normalise=True) == pytest.approx(expected)


def test_each_prompt_is_its_own_baseline(stage):
    rollouts = stage.table({ONE: [[1.0, 0.0]], TWO: [[1.0, 1.0]]})
    assert [a for _, a in episode_advantages(rollouts, "prompt")] == [0.5, -0.5, 0.0, 0.0]


def test_the_problem_baseline_compares_all_prompts_on_a_task(stage):
    rollouts = stage.table({ONE: [[1.0, 0.0], [0.0, 0.0]], TWO: [[1.0, 1.0], [0.0, 1.0]]})
    worth = {
        (e.prompt_id, e.task.seed, e.sample): a for e, a in episode_advantages(rollouts, "problem")
    }
    assert worth[ONE.id, 0, 0] == 0.25
    assert worth[ONE.id, 0, 1] == -0.75
    assert worth[TWO.id, 1, 1] == 0.75
    assert sum(worth.values()) == pytest.approx(0)


def test_unscored_episodes_are_no_part_of_the_baseline(stage):
    rollouts = stage.table({ONE: [[1.0, None, 0.0]]})
    credited = list(episode_advantages(rollouts, "prompt"))
    assert [(e.sample, a) for e, a in credited] == [(0, 0.5), (2, -0.5)]


def test_two_groups_of_one_prompt_and_task_keep_their_own_baselines(stage):
    round = stage.round(tasks=1)
    casts = [Assignment(ONE, round.tasks[0], 2), Assignment(ONE, round.tasks[0], 2, first=2)]
    rollouts = stage.play(round, casts, lambda prompt, task, sample: float(sample in (0, 2, 3)))
    assert [a for _, a in episode_advantages(rollouts, "prompt")] == [0.5, -0.5, 0.0, 0.0]
