"""Intervals cover as often as they say, equal agents rarely differ, power is what the plan says.

A small version of `python -m benchmarks.coverage`; limits are four standard errors wide.
"""

import numpy as np
import pytest

from benchmarks import coverage
from leaderboards.stats.paired import BOOTSTRAP_COVERAGE
from leaderboards.stats.power import Design, Spread, power, smallest

REPEATS = 400


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


def near(rate: float, expected: float, repeats: int = REPEATS) -> bool:
    return abs(rate - expected) <= 4 * (expected * (1 - expected) / repeats) ** 0.5


@pytest.mark.parametrize("n", [5, 30])
def test_the_t_interval_covers_at_its_level(n: int, rng: np.random.Generator) -> None:
    assert near(coverage.t_coverage(n, coverage.SHAPES["normal"], REPEATS, rng), 0.95)


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_wilsons_interval_covers_at_its_level(share: float, rng: np.random.Generator) -> None:
    assert coverage.wilson_coverage(share, 60, REPEATS, rng) >= 0.95 - 0.044


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.4), (0.99, 0.95), (0.99, 0.01)])
def test_the_interval_over_tasks_covers_even_where_outcomes_agree(
    a: float, b: float, rng: np.random.Generator
) -> None:
    assert coverage.tasks_coverage(a, b, 30, 1, REPEATS, rng) >= 0.95 - 0.044


@pytest.mark.parametrize("samples", [1, 2])
def test_two_equal_agents_on_a_world_like_neither_rarely_differ(
    samples: int, rng: np.random.Generator
) -> None:
    assert coverage.tasks_false_positives(64, samples, REPEATS, rng) <= 0.05 + 0.044


def test_of_many_methods_that_gain_nothing_rarely_one_passes_holm(
    rng: np.random.Generator,
) -> None:
    assert coverage.family_false_positives(4, 5, 64, REPEATS, rng) <= 0.05 + 0.044


def test_power_matches_the_plan(rng: np.random.Generator) -> None:
    known, design = Spread(task=0.1, sample=0.25, seed=0.04), Design(60, 4, 5, own_tasks=True)
    least = smallest(design, known).method
    assert least is not None
    assert power(least, known.sd_over_seeds(design), 5) == pytest.approx(0.8, abs=1e-6)
    assert near(coverage.seeds_power(design, known, least, REPEATS, rng), 0.8)


@pytest.mark.parametrize("n", [5, 20])
def test_the_table_of_bootstrap_coverages_is_what_simulation_gives(
    n: int, rng: np.random.Generator
) -> None:
    shapes = coverage.SHAPES.values()
    rates = [coverage.bootstrap_coverage(n, draw, 1000, 500, rng) for draw in shapes]
    assert abs(min(rates) - BOOTSTRAP_COVERAGE[n]) <= 4 * (0.13 / 1000) ** 0.5
