from collections import Counter

import numpy as np
import pytest

from agents.parts.prompts.population import Member, Population
from agents.parts.prompts.selection import RULES, select, select_final
from harness.types import Rating, SystemPrompt

PROMPTS = [SystemPrompt(f"p{i}") for i in range(5)]
# Scores μ + 2σ: 30, 34, 26, 28, 31; lower bounds μ − 2σ: 22, 14, 24, 20, 19.
WINDOW = [
    Member(p, Rating(mu, sigma), generation=i, evaluations=1)
    for i, (p, mu, sigma) in enumerate(
        zip(PROMPTS, (26, 24, 25, 24, 25), (2, 5, 0.5, 2, 3), strict=True)
    )
]


def often(rule, count=2, window=WINDOW, repeats=4000):
    """How often each position is selected."""
    rng = np.random.default_rng(5)
    counts = Counter(
        PROMPTS.index(p) for _ in range(repeats) for p in select(window, count, rule, 2.0, rng)
    )
    return [counts[i] / repeats for i in range(len(window))]


def test_top_random_takes_the_highest_score_and_others_evenly():
    assert often("top_random", 2) == pytest.approx([0.25, 1, 0.25, 0.25, 0.25], abs=0.03)
    assert often("top_random", 3) == pytest.approx([0.5, 1, 0.5, 0.5, 0.5], abs=0.03)


def test_newest_uniform_takes_the_newest_whatever_its_rating():
    assert often("newest_uniform", 2) == pytest.approx([0.25, 0.25, 0.25, 0.25, 1], abs=0.03)


def test_softmax_draws_by_score_at_the_highest_scores_temperature():
    weights = np.exp(np.array([30, 34, 26, 28, 31]) / 34)
    assert often("softmax", 1) == pytest.approx(list(weights / weights.sum()), abs=0.03)


def test_softmax_never_cools_below_a_temperature_of_one():
    low = [Member(p, Rating(-mu, 0.0)) for p, mu in zip(PROMPTS[:2], (1, 3), strict=True)]
    weights = np.exp([-1.0, -3.0])
    assert often("softmax", 1, low) == pytest.approx(list(weights / weights.sum()), abs=0.03)


def test_ucb_takes_the_highest_scores():
    assert often("ucb", 3, repeats=5) == [1, 1, 0, 0, 1]


def test_lucb_lets_the_safest_defend_against_the_most_promising():
    assert often("lucb", 2, repeats=5) == [0, 1, 1, 0, 0]
    assert often("lucb", 3, repeats=5) == [0, 1, 1, 0, 1]


@pytest.mark.parametrize("rule", RULES)
def test_nobody_is_selected_twice_and_few_are_all_selected(rule):
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 9):
        chosen = select(WINDOW, count, rule, 2.0, rng)
        assert len(set(chosen)) == len(chosen) == min(count, 5)


@pytest.mark.parametrize("rule", RULES)
def test_the_same_generator_selects_the_same(rule):
    picks = [select(WINDOW, 3, rule, 2.0, np.random.default_rng(3)) for _ in range(2)]
    assert picks[0] == picks[1]


def test_among_equal_scores_the_newest_is_first():
    equal = [Member(p, Rating()) for p in PROMPTS]
    assert select(equal, 1, "top_random", 2.0, np.random.default_rng(0)) == [PROMPTS[4]]


def test_the_champion_is_the_highest_lower_bound_the_highest_mean_or_the_newest():
    population = Population(tuple(WINDOW))
    assert select_final(population, "lower_bound") == PROMPTS[2]
    assert select_final(population, "mean") == PROMPTS[0]
    assert select_final(population, "newest") == PROMPTS[4]


@pytest.mark.parametrize("rule", ["lower_bound", "mean"])
def test_a_prompt_that_never_played_is_not_handed_in_on_hearsay(rule):
    evaluations = Member(PROMPTS[0], Rating(25, 5), evaluations=3)
    hearsay = Member(PROMPTS[1], Rating(25.1, 1.5), generation=1, evaluations=0)
    assert select_final(Population((evaluations, hearsay)), rule) == PROMPTS[0]
    assert select_final(Population((hearsay,)), rule) == PROMPTS[1]
