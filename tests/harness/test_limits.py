"""Limits of money and time, with usage and a clock that the test moves."""

from dataclasses import replace

import pytest

from harness.budget import Usage
from harness.errors import UsageError
from harness.runs.limits import RunLimits, check_limits, cost_of
from harness.settings.sections import LimitsSection, PricesSection

PRICES = PricesSection(currency="EUR", rollout=2.0, reflection=5.0)


class Course:
    """A run whose iterations take what the test says."""

    def __init__(self, limits: LimitsSection, spent: Usage | None = None, done: int = 0) -> None:
        self.spent, self.done, self.now = spent or Usage(), done, 100.0
        self.limits = RunLimits(
            limits, PRICES, lambda: self.spent, lambda: self.done, lambda: self.now
        )

    def iterate(self, tokens: int, seconds: float) -> None:
        acting = self.spent.acting_tokens + tokens
        self.spent = replace(
            self.spent,
            acting_tokens=acting,
            episodes=self.spent.episodes + 10,
            acting_seconds=self.spent.acting_seconds + seconds,
        )
        self.done, self.now = self.done + 1, self.now + seconds

    def rounds(self, tokens: int, seconds: float, most: int = 50) -> int:
        count = 0
        while count < most and not self.limits.stop_before_iteration():
            self.iterate(tokens, seconds)
            count += 1
        return count


def test_the_cost_is_of_all_tokens_and_reflection_without_a_price_costs_what_rollouts_do() -> None:
    spent = Usage(acting_tokens=10**6, evaluation_tokens=10**6, reflection_tokens=2 * 10**6)
    assert cost_of(spent, PRICES) == 14
    assert cost_of(spent, PricesSection(currency="EUR", rollout=2.0)) == 8


def test_a_run_stops_before_the_iteration_that_would_cost_too_much() -> None:
    course = Course(LimitsSection(max_cost=9.0))
    assert course.rounds(10**6, 1.0) == 4  # two euros each: a fifth would make ten
    assert cost_of(course.spent, PRICES) <= 9
    assert "costs about 2 EUR" in course.limits.reached
    assert "8 of 9 EUR are spent" in course.limits.reached


def test_a_run_stops_before_the_iteration_that_would_take_too_long() -> None:
    course = Course(LimitsSection(max_hours=1.0))
    assert course.rounds(10, 1000.0) == 3
    assert "harness resume" in course.limits.reached


def test_an_iteration_is_expected_to_take_what_the_last_one_took() -> None:
    course = Course(LimitsSection(max_cost=9.0))
    for tokens in (10**5, 10**6, 2 * 10**6):
        assert not course.limits.stop_before_iteration()
        course.iterate(tokens, 1.0)
    assert course.limits.stop_before_iteration()  # 6.2 spent, and 4 more expected


def test_a_resumed_run_counts_the_money_of_before_and_begins_its_time_anew() -> None:
    spent = Usage(acting_tokens=4 * 10**6, acting_seconds=4000.0, episodes=40)
    course = Course(LimitsSection(max_cost=9.0), spent, done=4)
    assert course.rounds(10**6, 1.0) == 0
    assert Course(LimitsSection(max_hours=1.0), spent, done=4).rounds(10, 900.0, most=2) == 2


def test_an_evaluation_that_would_cost_too_much_does_not_begin() -> None:
    course = Course(LimitsSection(max_cost=9.0))
    course.iterate(3 * 10**6, 1.0)
    assert not course.limits.stop_before_evaluation(4)  # 6 spent, and 2.4 more expected
    course = Course(LimitsSection(max_cost=9.0))
    course.iterate(3 * 10**6, 1.0)
    assert course.limits.stop_before_evaluation(6)  # 3.6 more would make 9.6


def test_without_limits_nothing_stops() -> None:
    course = Course(LimitsSection())
    assert course.rounds(10**9, 10**9) == 50
    assert not course.limits.stop_before_evaluation(10**9)


def test_a_limit_of_money_needs_a_price() -> None:
    with pytest.raises(UsageError, match="--max-cost needs prices"):
        check_limits(LimitsSection(max_cost=1.0), PricesSection())
    check_limits(LimitsSection(max_cost=1.0), PRICES)
    check_limits(LimitsSection(max_hours=1.0), PricesSection())
