"""Score against budget, and the chosen prompt without the luck of being chosen."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from leaderboards.records.entry import Entry
from leaderboards.stats.budget_curves import BudgetCurve, curves_of_entries, training_curve
from leaderboards.stats.selection_bias import advantages

Make = Callable[..., Entry]


def rounds(*rewards: float | None) -> list[dict[str, Any]]:
    return [
        {
            "reward": reward,
            "scores": {"a": reward},
            "spent": {"episodes": 10 * n, "acting_tokens": 100 * n, "reflection_tokens": n},
        }
        for n, reward in enumerate(rewards, 1)
    ]


def test_a_training_curves_height_weighs_rounds_by_what_they_spent() -> None:
    # 10 episodes at 0.2, 10 at 0.4, and a round nothing was scored in: its 10 go to the next.
    curve = training_curve(rounds(0.2, 0.4, None, 1.0))
    assert curve.points == ((10.0, 0.2), (20.0, 0.4), (40.0, 1.0))
    assert curve.normalised_auc == pytest.approx((10 * 0.2 + 10 * 0.4 + 20 * 1.0) / 40)
    assert training_curve(rounds(0.2), "tokens").points == ((101.0, 0.2),)


def test_a_measured_curves_height_is_the_area_under_its_line() -> None:
    curve = BudgetCurve(((0.0, 0.0), (10.0, 0.4), (30.0, 0.4)), "line")
    assert curve.normalised_auc == pytest.approx((10 * 0.2 + 20 * 0.4) / 30)
    assert BudgetCurve(((5.0, 1.0),), "line").normalised_auc is None
    assert BudgetCurve((), "steps").normalised_auc is None


def test_one_lucky_round_is_no_arrival() -> None:
    curve = training_curve(rounds(0.0, 0.9, 0.0, 0.3, 0.6, 0.6))
    # Means of three: 0.3, 0.4, 0.3, 0.5.
    assert curve.budget_to_reach(0.39) == 40
    assert curve.budget_to_reach(0.45) == 60
    assert curve.budget_to_reach(0.6) is None


def test_between_measured_budgets_a_score_rises_evenly() -> None:
    curve = BudgetCurve(((0.0, 0.2), (100.0, 0.6), (200.0, 0.5)), "line")
    assert curve.budget_to_reach(0.4) == pytest.approx(50.0)
    assert curve.budget_to_reach(0.1) == 0.0
    assert curve.budget_to_reach(0.7) is None


def test_entries_of_several_budgets_make_a_curve_that_starts_at_base(make_entry: Make) -> None:
    def at(budget: int, right: int, **more: Any) -> Entry:
        spent = make_entry().spent
        entry = make_entry(
            {str(i): [float(i < right)] for i in range(4)},
            track={"budget_episodes": budget},
            spent=type(spent)(budget, 1000, 0, 0, 0, 0, 0.0),
            **more,
        )
        return entry

    entries = [at(100, 1, method="base"), at(100, 2), at(400, 4), at(400, 2, seed=1)]
    assert curves_of_entries(entries) == {
        "espl on arithmetic-v1": BudgetCurve(((0.0, 0.25), (100.0, 0.5), (400.0, 0.75)), "line")
    }
    assert curves_of_entries([at(100, 2)]) == {}
    assert curves_of_entries([at(100, 2), at(400, 4, method="rl")]) == {}


def test_advantages_are_told_within_rounds_so_that_learning_weights_do_not_count() -> None:
    # The second round is easier for all; gaps to the round's mean stay −0.1, 0, 0.1.
    lines = [
        {"scores": {"a": 0.1, "b": 0.2, "c": 0.3}},
        {"scores": {"a": 0.6, "b": 0.7, "c": 0.8}},
        {"scores": {"a": 0.5, "b": None}},
        {"scores": {"a": 0.62, "b": 0.7, "c": 0.78}},
    ]
    found = advantages(lines)
    assert found["c"].seen == pytest.approx((0.1 + 0.1 + 0.08) / 3)
    assert (found["c"].rounds, found["c"].rivals) == (3, 2)
    assert 0 < found["c"].corrected < found["c"].seen


def test_without_repeats_or_rivals_nothing_is_corrected() -> None:
    assert advantages([{"scores": {"a": 0.1, "b": 0.2, "c": 0.3}}]) == {}
    assert advantages([{"scores": {"a": 0.1, "b": 0.3}}, {"scores": {"a": 0.2, "b": 0.3}}]) == {}
    assert advantages([]) == {}


def test_what_is_left_of_the_best_is_on_average_what_it_is_worth() -> None:
    rng = np.random.default_rng(7)
    seen, corrected, true = [], [], []
    for _ in range(300):
        merit = rng.normal(0.0, 0.05, 12)
        scores = 0.4 + merit + rng.normal(0.0, 0.1, (4, 12))
        found = advantages([{"scores": {str(i): s for i, s in enumerate(row)}} for row in scores])
        best = max(found, key=lambda id: found[id].seen)
        seen.append(found[best].seen)
        corrected.append(found[best].corrected)
        true.append(merit[int(best)] - merit.mean())
    assert np.mean(seen) - np.mean(true) > 0.02  # the curse
    assert abs(np.mean(corrected) - np.mean(true)) < 0.01
