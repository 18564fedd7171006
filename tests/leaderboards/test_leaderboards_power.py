"""Power and the smallest difference, against tabulated values and against each other."""

from collections.abc import Callable
from typing import Any

import pytest

from leaderboards.records.entry import Entry
from leaderboards.stats.power import (
    ASSUMED,
    Design,
    Spread,
    contrast_spread,
    detectable_difference,
    measured_spread,
    power,
    seeds_needed,
    smallest,
)
from leaderboards.stats.scores import result

Make = Callable[..., Entry]


def test_power_is_that_of_the_textbook() -> None:
    # A paired t test of a difference of half a deviation needs 34 pairs for 80 % (33: 79.5 %).
    assert power(0.5, 1.0, 34) == pytest.approx(0.808, abs=0.001)
    assert power(0.5, 1.0, 33) == pytest.approx(0.795, abs=0.001)
    assert power(0.0, 1.0, 20) == pytest.approx(0.05, abs=1e-6)
    assert power(-0.5, 1.0, 34) == power(0.5, 1.0, 34)


def test_no_power_with_one_unit_and_all_of_it_without_spread() -> None:
    assert power(1.0, 0.1, 1) == 0.0
    assert power(0.1, 0.0, 5) == 1.0
    assert power(1e6, 0.1, 5) == pytest.approx(1.0)


def test_power_over_two_units_is_the_cauchy_distributions() -> None:
    # df 1, no difference: exactly the level. With one, it rises; critical value 12.706.
    assert power(1e-9, 1.0, 2) == pytest.approx(0.05, abs=1e-4)
    rising = [power(effect, 1.0, 2) for effect in (1.0, 5.0, 10.0, 20.0, 50.0)]
    assert rising == sorted(rising) and 0.05 < rising[0] < 0.1 and rising[-1] > 0.99


@pytest.mark.parametrize("units", [2, 3, 5, 10, 100])
def test_the_smallest_difference_has_just_the_power_asked_for(units: int) -> None:
    found = detectable_difference(0.2, units)
    assert found is not None
    assert power(found, 0.2, units) == pytest.approx(0.8, abs=1e-6)


def test_one_seed_can_show_nothing_of_methods() -> None:
    found = smallest(Design(tasks=100, samples=2, seeds=1), ASSUMED)
    assert found.method is None
    assert found.agent is not None and 0 < found.agent < 0.2
    assert detectable_difference(0.0, 5) == 0.0


def test_what_no_reward_can_differ_by_is_none() -> None:
    assert smallest(Design(100, 2, 2), Spread(0.1, 0.1, 0.3)).method is None


def test_spreads_add_up_by_hand() -> None:
    # Over tasks: 0.3² + 2 · 0.2 / (4 · 2) = 0.14. Over seeds: 0.1² + 2 · 0.2 / (4 · 50) = 0.012.
    known = Spread(task=0.3, sample=0.2, seed=0.1)
    design = Design(tasks=50, samples=4, seeds=2)
    assert known.sd_over_items(design) == pytest.approx(0.14**0.5)
    assert known.sd_over_seeds(design) == pytest.approx(0.012**0.5)
    # Worlds of a family: tasks are drawn anew, 0.3² / 50 more; and a task's mean is over one world.
    own = Design(tasks=50, samples=4, seeds=2, own_tasks=True)
    assert known.sd_over_seeds(own) == pytest.approx((0.012 + 0.09 / 50) ** 0.5)
    assert known.sd_over_items(own) == pytest.approx((0.045 + 0.05) ** 0.5)


def test_more_of_anything_shows_smaller_differences_and_more_contrasts_larger_ones() -> None:
    least = [smallest(Design(100, 2, s), ASSUMED).method or 9.0 for s in (3, 5, 10, 20)]
    assert least == sorted(least, reverse=True) and len(set(least)) == 4
    one, three = (smallest(Design(100, 2, 5), ASSUMED, n).method or 9.0 for n in (1, 3))
    assert one < three


def test_the_seeds_needed_are_the_fewest_that_suffice() -> None:
    design = Design(100, 2, 5)
    enough = seeds_needed(design, ASSUMED, 0.05)
    assert enough is not None
    deviation = ASSUMED.sd_over_seeds(design)
    assert power(0.05, deviation, enough) >= 0.8 > power(0.05, deviation, enough - 1)
    assert seeds_needed(design, Spread(0.1, 0.1, 5.0), 0.01) is None


def test_spreads_are_measured_between_methods_that_share_seeds(make_entry: Make) -> None:
    def entries(method: str, rows: list[dict[str, Any]]) -> list[Entry]:
        return [make_entry(row, method=method, seed=n) for n, row in enumerate(rows)]

    low = {"a": [0.0, 0.0], "b": [0.0, 0.0]}
    base = entries("base", [low] * 3)
    # Differences by seed 0.5, 0.5, 1: variance 1/12. Within tasks there is none.
    some = {"a": [1.0, 1.0], "b": [0.0, 0.0]}
    espl = entries("espl", [some, some, {"a": [1.0, 1.0], "b": [1.0, 1.0]}])
    found = measured_spread([result(e) for e in base + espl])
    assert found is not None
    assert found.sample == 0.0
    assert found.seed == pytest.approx((1 / 12) ** 0.5)
    # By task: 1 and 0 twice (variance 1/2), 1 and 1 once (0): the mean variance is 1/3.
    assert found.task == pytest.approx((1 / 3) ** 0.5)
    assert measured_spread([result(e) for e in base]) is None
    assert measured_spread([result(e) for e in (base[0], espl[1])]) is None
    two = measured_spread([result(e) for e in base[:2] + espl[:2]])
    assert two is not None and two.seed == ASSUMED.seed


def test_the_spread_of_a_contrast_is_that_of_its_own_methods(make_entry: Make) -> None:
    tasks = [f"test:{n}" for n in range(10)]

    def runs(method: str, right: list[int]) -> list[Entry]:
        return [
            make_entry(
                {t: [float(n < k)] * 2 for n, t in enumerate(tasks)}, method=method, seed=seed
            )
            for seed, k in enumerate(right)
        ]

    # Against base, rl varies by 1 of 10 tasks, espl by 4 and more.
    base, rl = runs("base", [1, 2, 1, 2]), runs("rl", [2, 3, 3, 3])
    espl = runs("espl", [1, 10, 2, 9])
    results = [result(e) for e in (*base, *rl, *espl)]
    pooled = measured_spread(results)
    wide, narrow = (contrast_spread(results, m, "base") for m in ("espl", "rl"))
    assert pooled is not None and wide is not None and narrow is not None
    assert wide.seed == pytest.approx(0.4082, abs=1e-3)
    assert narrow.seed < pooled.seed < wide.seed
    design = Design(tasks=10, samples=2, seeds=10)
    assert power(0.1, wide.sd_over_seeds(design), 10) < power(0.1, pooled.sd_over_seeds(design), 10)
    own = contrast_spread(results, "espl", "base", own_tasks=True)
    assert own is not None and own.seed < wide.seed
    # Added again by the design, what the tasks contribute counts once.
    assert own.sd_over_seeds(Design(10, 2, 4, own_tasks=True)) == pytest.approx(
        wide.sd_over_seeds(Design(10, 2, 4))
    )
    assert contrast_spread(results, "inspo", "base") is None
    assert contrast_spread([result(e) for e in (*base[:2], *rl)], "rl", "base") is None
