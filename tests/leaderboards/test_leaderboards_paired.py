"""Paired tests and intervals against hand computation and SciPy."""

import pytest
from scipy import stats

from leaderboards.stats.paired import (
    BOOTSTRAP_COVERAGE,
    BOOTSTRAP_LEAST,
    bootstrap,
    bootstrap_refusal,
    holm,
    mcnemar,
    newcombe,
    over_seeds,
    over_tasks,
    paired_t,
)


def test_the_paired_t_test_is_scipys() -> None:
    # Differences 1, 2, 3: mean 2, sd 1, t = 2 / (1 / √3) = 3.4641, df 2.
    assert paired_t([1.0, 2.0, 3.0]) == pytest.approx(2 * stats.t.sf(3.4641016, 2))
    assert paired_t([-1.0, -2.0, -3.0]) == paired_t([1.0, 2.0, 3.0])


@pytest.mark.parametrize("values", [[], [0.5], [0.25, 0.25, 0.25]])
def test_without_spread_there_is_no_p_and_no_interval(values: list[float]) -> None:
    effect = over_seeds(values)
    assert (effect.p, effect.interval, effect.test) == (None, None, "")
    assert effect.reason == ["no common seed", "1 seed", "", "no spread"][len(values)]


def test_over_seeds_names_the_test_and_its_degrees_of_freedom() -> None:
    effect = over_seeds([0.1, 0.2, 0.3, 0.2])
    assert (effect.estimand, effect.units, effect.test) == ("this method", 4, "paired t, df 3")
    expected = stats.ttest_1samp([0.1, 0.2, 0.3, 0.2], 0)
    assert effect.p == pytest.approx(expected.pvalue)
    assert effect.interval is not None
    assert effect.interval.low == pytest.approx(expected.confidence_interval().low)


def test_mcnemar_is_the_exact_binomial_test_of_the_tasks_that_differ() -> None:
    # Of five tasks that differ all five go one way: 2 · (1/2)^5 = 1/16.
    assert mcnemar(5, 0) == mcnemar(0, 5) == pytest.approx(0.0625)
    assert mcnemar(7, 3) == pytest.approx(stats.binomtest(3, 10).pvalue)
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1.0


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    # 0.01 · 3, then max(0.03, 0.03 · 2), then max(0.06, 0.04 · 1).
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_contrast_without_p_still_counts_as_asked_for() -> None:
    assert holm([0.02, None]) == [pytest.approx(0.04), None]
    assert holm([]) == []


def test_newcombe_is_not_empty_where_all_outcomes_agree() -> None:
    # Wilson for 10 of 10 is [0.722467, 1], for 0 of 10 [0, 0.277533]: 1 − 0.277533 · √2.
    found = newcombe((10, 10), (0, 10))
    assert (found.low, found.high) == pytest.approx((1 - 0.277533 * 2**0.5, 1.0), abs=1e-5)
    same = newcombe((10, 10), (10, 10))
    assert (same.low, same.high) == pytest.approx((-0.277533, 0.277533), abs=1e-5)


def test_agents_that_always_agree_with_themselves_get_a_wilson_interval() -> None:
    effect = over_tasks([1.0] * 10, [0.0] * 10, unit=True)
    assert effect.value == 1.0 and effect.p is None and effect.reason == ""
    assert effect.interval is not None and effect.interval.kind == "wilson"
    # The agents differ on no task, though tasks differ: they may yet differ on 0.277533 of them.
    equal = over_tasks([1.0, 0.0] * 5, [1.0, 0.0] * 5, unit=True)
    assert equal.interval is not None
    assert equal.interval.high == pytest.approx(0.277533, abs=1e-6)
    assert over_tasks([2.0, 7.0], [2.0, 7.0], unit=False).reason == "no spread"


def test_mcnemar_is_asked_for_single_outcomes_only() -> None:
    a, b = [1.0] * 6 + [0.0] * 4, [1.0] + [0.0] * 9
    single = over_tasks(a, b, unit=True, single=True)
    assert single.test == "McNemar, exact, 5 against 0"
    assert single.p == pytest.approx(0.0625)
    several = over_tasks(a, b, unit=True)
    assert several.test == "paired t, df 9"
    assert several.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert several.interval == single.interval


def test_no_common_task_is_said() -> None:
    assert over_tasks([], [], unit=True).reason == "no common task"


def test_a_bootstrap_is_refused_where_it_was_found_to_cover_too_rarely() -> None:
    assert "5 covers 82 % instead of 95 %; it takes 50 or more" in bootstrap_refusal(5)
    assert "was not found to cover" in bootstrap_refusal(4)
    with pytest.raises(ValueError, match="a 95 % bootstrap over 30"):
        bootstrap([float(n) for n in range(30)])
    for n, coverage in BOOTSTRAP_COVERAGE.items():
        assert (bootstrap_refusal(n) == "") == (coverage >= BOOTSTRAP_LEAST)


def test_a_bootstrap_over_many_values_is_about_the_t_interval() -> None:
    values = [float(n % 10) for n in range(100)]
    by_bootstrap, by_t = over_seeds(values, True).interval, over_seeds(values).interval
    assert by_bootstrap is not None and by_t is not None and by_bootstrap.kind == "bootstrap"
    assert by_bootstrap.low == pytest.approx(by_t.low, abs=0.05)
    assert by_bootstrap == over_seeds(values, True).interval
