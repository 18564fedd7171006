"""The statistics against numbers worked out by hand, enumeration, SciPy, and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from leaderboards.stats.intervals import Interval, mean, pass_at_k, t_interval, wilson


def test_wilson_of_no_success_in_thirty_trials_reaches_eleven_per_cent() -> None:
    # The upper limit is z² / (n + z²) with z² = 3.841459.
    interval = wilson(0, 30)
    assert interval.low == 0
    assert interval.high == pytest.approx(3.841459 / 33.841459, abs=1e-6)
    assert interval.kind == "wilson"


def test_wilson_of_all_successes_mirrors_that_of_none() -> None:
    assert wilson(30, 30).high == 1
    assert wilson(30, 30).low == pytest.approx(1 - wilson(0, 30).high)


def test_wilson_of_eight_in_ten_is_as_in_the_textbook() -> None:
    interval = wilson(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


@pytest.mark.parametrize("right", [0, 1, 7, 20])
def test_wilson_agrees_with_scipy(right: int) -> None:
    expected = stats.binomtest(right, 20).proportion_ci(0.95, "wilson")
    assert (wilson(right, 20).low, wilson(right, 20).high) == pytest.approx(tuple(expected))


@pytest.mark.parametrize(("right", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_proportion(right: int, trials: int) -> None:
    with pytest.raises(ValueError, match="make no proportion"):
        wilson(right, trials)


def test_the_t_interval_of_one_two_three() -> None:
    # Mean 2, standard deviation 1, t with two degrees of freedom 4.302653: ± 4.302653 / √3.
    interval = t_interval([1, 2, 3])
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((-0.4841377, 4.4841377), abs=1e-6)


def test_the_t_interval_agrees_with_scipy() -> None:
    values = [0.2, 0.9, 0.4, 0.4, 0.7]
    interval = t_interval(values)
    assert interval is not None
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5], [0.1 + 0.2, 0.3, 0.3]])
def test_no_spread_makes_no_interval(values: list[float]) -> None:
    assert t_interval(values) is None


def test_a_mean_does_not_depend_on_the_order() -> None:
    values = [0.1] * 7 + [1e6, -1e6]
    assert mean(values) == mean(values[::-1]) == pytest.approx(0.7 / 9)
    assert mean([]) is None


def test_an_interval_is_clipped_to_what_is_possible() -> None:
    assert Interval(-0.2, 1.4).clipped(0, 1) == Interval(0, 1)
    assert Interval(0.2, 0.4).clipped(0, 1) == Interval(0.2, 0.4)


@pytest.mark.parametrize("samples", [1, 2, 5, 6])
def test_pass_at_k_equals_enumeration(samples: int) -> None:
    for right, k in itertools.product(range(samples + 1), range(1, samples + 1)):
        marks = [True] * right + [False] * (samples - right)
        draws = [any(draw) for draw in itertools.combinations(marks, k)]
        assert pass_at_k(samples, right, k) == pytest.approx(sum(draws) / len(draws))


def test_pass_at_one_is_the_share_of_right_replies() -> None:
    assert pass_at_k(8, 3, 1) == pytest.approx(3 / 8)


def test_pass_at_k_is_exact_for_many_samples() -> None:
    assert pass_at_k(2000, 1, 1000) == pytest.approx(0.5)


@pytest.mark.parametrize(("samples", "right", "k"), [(2, 1, 3), (2, 3, 1), (2, 1, 0)])
def test_pass_at_k_refuses_more_than_there_is(samples: int, right: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"pass@{k} is not defined"):
        pass_at_k(samples, right, k)


@pytest.mark.parametrize("tasks", [30, 100, 200])
def test_over_resampled_tasks_the_interval_covers_as_often_as_it_says(tasks: int) -> None:
    rng = np.random.default_rng(tasks)
    difficulty = rng.beta(2, 3, size=(1500, tasks))  # each world's mean is 2/5
    means = rng.binomial(4, difficulty) / 4
    assert 0.935 <= _coverage(means, 0.4) <= 0.965


def test_over_five_seeds_the_interval_covers_as_often_as_it_says() -> None:
    scores = np.random.default_rng(5).normal(0.4, 0.05, size=(4000, 5))
    assert 0.94 <= _coverage(scores, 0.4) <= 0.96


def _coverage(repeats: np.ndarray, truth: float) -> float:
    intervals = [t_interval(values) for values in repeats.tolist()]
    assert all(i is not None and math.isfinite(i.low) for i in intervals)
    return sum(i is not None and i.low <= truth <= i.high for i in intervals) / len(intervals)
