"""Differences between variants of one agent, by hand."""

import pytest
from scipy import stats

from leaderboards.stats.factorial import (
    all_in_unit_interval,
    cell_mean,
    differences,
    factorial,
    interaction,
)

NEITHER = {"a": 0.0, "b": 0.0, "c": 0.5, "d": 0.0}
PROMPT = {"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.0}
WEIGHTS = {"a": 0.5, "b": 0.0, "c": 0.5, "d": 0.5}
BOTH = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}


def test_four_effects_are_adjusted_together() -> None:
    found = factorial(NEITHER, PROMPT, WEIGHTS, BOTH, unit=True)
    assert [one.name for one in found] == [
        "evolved prompt alone",
        "trained weights alone",
        "both together",
        "interaction",
    ]
    # Means 1/8, 3/8, 3/8, 1: 1/4, 1/4, 7/8, and 1 − 3/8 − 3/8 + 1/8 = 3/8.
    assert [one.effect.value for one in found] == pytest.approx([0.25, 0.25, 0.875, 0.375])
    p = [one.effect.p for one in found]
    assert p[2] == pytest.approx(
        stats.ttest_rel(list(BOTH.values()), list(NEITHER.values())).pvalue
    )
    assert p[2] is not None and found[2].effect.holm == pytest.approx(4 * p[2])


def test_an_interaction_is_task_by_task() -> None:
    # 1−.5−.5+0, 1−.5−0+0, 1−.5−.5+.5, 1−0−.5+0 = 0, 1/2, 1/2, 1/2.
    effect = interaction(BOTH, PROMPT, WEIGHTS, NEITHER)
    expected = stats.ttest_1samp([0, 0.5, 0.5, 0.5], 0)
    assert effect.value == pytest.approx(0.375)
    assert effect.p == pytest.approx(expected.pvalue)
    assert interaction(BOTH, BOTH, BOTH, BOTH).reason == "no spread"


def test_only_tasks_that_both_cells_have_are_compared() -> None:
    (found,) = differences([("x", {"a": 1.0, "b": 0.0, "z": 1.0}, NEITHER)], unit=True)
    assert (found.effect.units, found.effect.value) == (2, 0.5)
    (none,) = differences([("x", {}, NEITHER)], unit=True)
    assert (none.effect.value, none.effect.reason) == (None, "no common task")


def test_a_cell_whose_tasks_all_agree_has_wilsons_interval() -> None:
    value, interval = cell_mean(BOTH, unit=True)
    assert value == 1.0 and interval is not None and interval.kind == "wilson"
    assert cell_mean({}, unit=True) == (None, None)
    value, interval = cell_mean(NEITHER, unit=True)
    assert value == 0.125 and interval is not None and interval.low == 0.0
    assert all_in_unit_interval([BOTH]) and not all_in_unit_interval([{"a": 2.0}])
