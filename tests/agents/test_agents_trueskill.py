import math

import pytest
import trueskill

from agents.parts.prompts.trueskill import inherit, ranks, rate
from harness.types import Rating


def directly(ratings, places):
    league = trueskill.TrueSkill(25, 25 / 3, 25 / 6, 25 / 300, 0.10)
    teams = [(trueskill.Rating(r.mu, r.sigma),) for r in ratings]
    return [(r.mu, r.sigma) for (r,) in league.rate(teams, ranks=places)]


def test_a_match_of_two_new_prompts_gives_the_published_numbers():
    after = rate({"a": Rating(), "b": Rating()}, {"a": 0.9, "b": 0.1})
    assert (after["a"].mu, after["a"].sigma) == pytest.approx((29.396, 7.171), abs=1e-3)
    assert (after["b"].mu, after["b"].sigma) == pytest.approx((20.604, 7.171), abs=1e-3)


@pytest.mark.parametrize(
    ("scores", "places"),
    [((0.9, 0.5, 0.1), (0, 1, 2)), ((0.1, 0.5, 0.5), (1, 0, 0)), ((0.3, 0.3, 0.3), (0, 0, 0))],
)
def test_ratings_equal_the_trueskill_package(scores, places):
    before = [Rating(27.0, 3.0), Rating(24.0, 5.0), Rating(25.0, 25 / 3)]
    names = ["x", "y", "z"]
    after = rate(dict(zip(names, before, strict=True)), dict(zip(names, scores, strict=True)))
    expected = directly(before, places)
    assert [(after[n].mu, after[n].sigma) for n in names] == expected


def test_ties_are_draws_and_draws_chain():
    assert ranks([0.50, 0.49, 0.48], draw_margin=0.0) == [0, 1, 2]
    assert ranks([0.50, 0.49, 0.48], draw_margin=0.01) == [0, 0, 0]
    assert ranks([0.48, 0.70, 0.49, 0.71], draw_margin=0.01) == [1, 0, 1, 0]


def test_the_same_rewards_added_in_another_order_are_a_tie():
    forwards, backwards = sum([0.1, 0.2, 0.3]) / 3, sum([0.3, 0.2, 0.1]) / 3
    assert forwards != backwards
    assert ranks([forwards, backwards]) == [0, 0]


def test_one_contender_keeps_its_rating():
    assert rate({"a": Rating(30, 2)}, {"a": 1.0}) == {"a": Rating(30, 2)}


def test_a_prompt_without_a_score_takes_no_part():
    ratings = {name: Rating() for name in "abc"}
    after = rate(ratings, {"a": 1.0, "b": math.nan, "c": 0.0})
    assert set(after) == {"a", "c"}
    assert after == rate(ratings, {"a": 1.0, "c": 0.0})


def test_a_mutant_keeps_the_mean_and_widens_the_doubt():
    child = inherit([Rating(30.0, 3.0)], sigma_inflation=4.0)
    assert (child.mu, child.sigma) == pytest.approx((30.0, 5.0))


def test_a_crossing_weighs_parents_by_precision():
    # Weights 1 and 1/4: mean (30 + 20/4) / 1.25 = 28, variance 1/1.25 + 1 = 1.8.
    child = inherit([Rating(30.0, 1.0), Rating(20.0, 2.0)], sigma_inflation=1.0)
    assert (child.mu, child.sigma) == pytest.approx((28.0, math.sqrt(1.8)))
