"""Questions to the evidence, with numbers worked out by hand."""

import math

import numpy as np
import pytest

from harness.round_data import Group, Rollouts, Round
from harness.seeds import Seeds
from harness.types import Assignment, Ending, Episode, SystemPrompt, Task

A, B = SystemPrompt("a"), SystemPrompt("b")
TASKS = (Task("train", 0), Task("train", 1))
ROUND = Round(0, TASKS, 2, 2, Seeds(0))


def episode(prompt, task, sample, reward):
    ending = Ending.FAILED if reward is None else Ending.TERMINATED
    return Episode(prompt.id, task, sample, 0, (), ending, reward or 0.0)


def rollouts(table):
    groups = [
        Group(
            Assignment(prompt, task, len(rewards)),
            tuple(episode(prompt, task, n, r) for n, r in enumerate(rewards)),
        )
        for (prompt, task), rewards in table.items()
    ]
    return Rollouts(ROUND, tuple(groups))


FULL = {(A, TASKS[0]): [1, 0], (A, TASKS[1]): [0, 0], (B, TASKS[0]): [1, 1], (B, TASKS[1]): [1, 0]}


def test_scores_are_means_over_tasks_of_means_over_samples():
    assert rollouts(FULL).scores() == {A.id: 0.25, B.id: 0.75}
    assert rollouts(FULL).best_prompt() == B


def test_a_win_is_being_alone_the_best_on_a_task():
    tied = {**FULL, (A, TASKS[0]): [1, 1]}
    assert rollouts(FULL).wins() == {A.id: (), B.id: TASKS}
    assert rollouts(tied).wins() == {A.id: (), B.id: (TASKS[1],)}


def test_the_first_cast_wins_among_equals():
    assert rollouts({(B, TASKS[0]): [1, 0], (A, TASKS[0]): [0, 1]}).best_prompt() == B


def test_unscored_episodes_are_left_out_of_every_mean():
    told = rollouts({(A, TASKS[0]): [1, None], (A, TASKS[1]): [None, None]})
    assert told.scores() == {A.id: 1.0}
    assert math.isnan(told.value(A, TASKS[1]))
    assert told.mean() == 1.0


def test_a_task_on_which_one_prompt_failed_altogether_counts_for_nobody():
    hung = {(A, TASKS[0]): [1, 1], (A, TASKS[1]): [0, 0]}
    spared = {(B, TASKS[0]): [1, 1], (B, TASKS[1]): [None, None]}
    told = rollouts({**hung, **spared})
    assert told.scores() == {A.id: 1.0, B.id: 1.0}
    assert told.wins() == {A.id: (), B.id: ()}


def test_equal_rewards_in_another_order_are_equal():
    told = rollouts({(A, TASKS[0]): [0.1, 0.2, 0.3], (B, TASKS[0]): [0.3, 0.2, 0.1]})
    assert told.wins() == {A.id: (), B.id: ()}


def test_nothing_scored_has_no_winner():
    assert rollouts({(A, TASKS[0]): [None, None]}).best_prompt() is None


def test_the_grid_is_prompts_by_tasks_by_samples():
    assert rollouts(FULL).grid().shape == (2, 2, 2)
    np.testing.assert_array_equal(rollouts(FULL).grid()[1, 1], [1, 0])


def test_a_ragged_grid_is_refused():
    with pytest.raises(ValueError, match="ragged"):
        rollouts({**FULL, (A, TASKS[0]): [1]}).grid()


def test_identity_of_a_prompt_is_its_content():
    child = SystemPrompt("a", ("one",), parents=(A.id,), origin="mutation")
    assert child.id == SystemPrompt("a", ("one",)).id != A.id
    assert child.text == "a\n\nPrinciples:\n1. one"


def test_named_generators_do_not_depend_on_order():
    first = Seeds(1).generator("x").random()
    Seeds(1).generator("y").random()
    assert Seeds(1).generator("x").random() == first
    assert Seeds(1).key("a", "b") != Seeds(1).key("ab")
    assert Seeds(1).key(1) != Seeds(1).key("1")
