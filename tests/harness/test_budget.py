"""How rounds are fitted into a budget."""

import pytest

from harness.budget import BudgetPlan, Shape, plan
from harness.errors import UsageError


def test_whole_rounds_only_and_the_remainder_is_told():
    assert plan(3000, Shape(10, 3, 5), 90) == BudgetPlan(Shape(10, 3, 5), 20, 0)
    assert plan(350, Shape(10, 3, 5), 90) == BudgetPlan(Shape(10, 3, 5), 2, 50)


def test_a_small_budget_shrinks_tasks_first():
    assert plan(60, Shape(10, 3, 5), 90) == BudgetPlan(Shape(4, 3, 5), 1, 0)


def test_then_prompts_then_samples_but_never_below_two():
    assert plan(12, Shape(10, 3, 5), 90).shape == Shape(1, 2, 5)
    assert plan(5, Shape(10, 3, 5), 90).shape == Shape(1, 1, 5)
    assert plan(2, Shape(10, 3, 5), 90).shape == Shape(1, 1, 2)
    with pytest.raises(UsageError, match="--episodes 2"):
        plan(1, Shape(10, 3, 5), 90)


def test_no_budget_means_no_rounds():
    assert plan(0, Shape(10, 3, 5), 90).rounds == 0


def test_a_round_has_no_more_tasks_than_the_world():
    assert plan(3000, Shape(10, 3, 5), 4).shape.tasks == 4


def test_a_round_that_cannot_teach_is_refused():
    with pytest.raises(UsageError, match="at least 1 × 1 × 2"):
        Shape(1, 1, 1)
