"""Limits of money and time: a run stops before the iteration that would exceed them, resumably."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from harness.budget import Usage
from harness.errors import UsageError
from harness.evaluate import Interrupted
from harness.settings.sections import LimitsSection, PricesSection
from harness.storage.atomic_files import lines


class LimitReached(Interrupted):
    """A run stopped before it exceeded a limit; the message says which, and what to type."""

    exit_code = 130  # as where the user stopped it
    saved = "stopped and saved: "
    """The beginning of the line that says so."""


def check_limits(limits: LimitsSection, prices: PricesSection) -> None:
    """Refuse a limit of money where the price of what is sampled is not known.

    Raises:
        UsageError: So.
    """
    if limits.max_cost and prices.rollout is None:
        raise UsageError(
            "--max-cost needs prices: add --set prices.currency=USD --set prices.rollout=0.60, the "
            "price of a million sampled tokens."
        )


def rounds_logged(folder: Path) -> int:
    """The iterations that a run has finished."""
    return sum(1 for _ in lines(folder / "rounds.jsonl"))


def cost_of(spent: Usage, prices: PricesSection) -> float:
    """The cost of all tokens that a run has sampled; evaluation costs what rollouts cost.

    Reflection costs what rollouts cost unless it has a price of its own.
    """
    rollout = prices.rollout or 0.0
    reflection = rollout if prices.reflection is None else prices.reflection
    sampled = spent.acting_tokens + spent.evaluation_tokens
    return (sampled * rollout + spent.reflection_tokens * reflection) / 1e6


class RunLimits:
    """Decides before each iteration of one run whether it would exceed a limit.

    An iteration is expected to take what the last one took, or the mean of all if that is more.
    Money counts from the beginning of the run; time from when this process began it. `spent` gives
    what has been spent, `done` the iterations that earlier processes finished.
    """

    def __init__(
        self,
        limits: LimitsSection,
        prices: PricesSection,
        spent: Callable[[], Usage],
        done: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._prices = limits, prices
        self._spent, self._done, self._clock = spent, done, clock
        self._began = clock()
        self._before: tuple[float, float] | None = None
        self._last = (0.0, 0.0)
        self.reached = ""
        """The sentence that says which limit was reached; "" while none was."""

    def stop_before_iteration(self) -> bool:
        """True if the next iteration would exceed a limit; called once before each."""
        now = (cost_of(self._spent(), self._prices), self._clock())
        if self._before is not None:
            self._last = (now[0] - self._before[0], now[1] - self._before[1])
        self._before = now
        done, spent = max(1, self._done()), self._spent()
        # Of iterations before this process only the seconds of the policy are known.
        self._check(
            "an iteration",
            max(self._last[0], now[0] / done),
            max(self._last[1], spent.seconds / done),
        )
        return bool(self.reached)

    def stop_before_evaluation(self, episodes: int) -> bool:
        """True if so many test episodes, each like one of training, would exceed a limit."""
        spent = self._spent()
        per_episode = episodes / spent.episodes if spent.episodes else 0.0
        tokens = spent.acting_tokens * per_episode
        self._check(
            "the evaluation",
            tokens * (self._prices.rollout or 0.0) / 1e6,
            spent.acting_seconds * per_episode,
        )
        return bool(self.reached)

    def _check(self, what: str, cost: float, seconds: float) -> None:
        """Note the first limit that `what` would exceed."""
        spent, passed = cost_of(self._spent(), self._prices), self._clock() - self._began
        most = self._limits
        currency = self._prices.currency
        if most.max_cost and spent + cost > most.max_cost:
            self.reached = (
                f"{what} costs about {cost:.3g} {currency}, and {spent:.3g} of "
                f"{most.max_cost:g} {currency} are spent; continue with harness resume and a "
                "higher --max-cost"
            )
        elif most.max_hours and passed + seconds > 3600 * most.max_hours:
            self.reached = (
                f"{what} takes about {seconds / 60:.3g} minutes, and {passed / 60:.3g} of "
                f"{60 * most.max_hours:g} minutes have passed; continue with harness resume, "
                "for which the time begins anew"
            )
