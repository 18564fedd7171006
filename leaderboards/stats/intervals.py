"""Intervals and estimators: plain numbers in, plain numbers out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from leaderboards.stats.student_t import critical

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided interval and its kind: Student's t, Wilson's score, or a bootstrap."""

    low: float
    high: float
    kind: Literal["t", "wilson", "bootstrap"] = "t"

    def clipped(self, low: float, high: float) -> "Interval":
        """The part of it within [low, high]; coverage does not change."""
        return Interval(max(self.low, low), min(self.high, high), self.kind)


def mean(values: Sequence[float]) -> float | None:
    """The mean by exact summation, independent of the order of values; None without values."""
    return math.fsum(values) / len(values) if values else None


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Student's t interval for the mean, with df = n − 1.

    None with fewer than two values, or if all are equal: their spread was not observed, which does
    not mean that it is zero.
    """
    centre = mean(values)
    if centre is None or len(values) < 2:
        return None
    squares = math.fsum((v - centre) ** 2 for v in values)
    # Equal but for rounding: a mean of equal values need not equal them in the last digit.
    if max(values) - min(values) <= 1e-12 * max(1.0, abs(centre)):
        return None
    error = math.sqrt(squares / (len(values) - 1) / len(values))
    half = critical(level, len(values) - 1) * error
    return Interval(centre - half, centre + half)


def wilson(successes: int, trials: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval for a proportion; it is not empty if all trials agree.

    Raises:
        ValueError: unless 0 ≤ successes ≤ trials and trials ≥ 1.
    """
    if not (trials >= 1 and 0 <= successes <= trials):
        raise ValueError(f"{successes} successes of {trials} trials make no proportion")
    from statistics import NormalDist  # rarely needed, and slow to import

    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / trials
    # Wilson (1927): all p with |share − p| ≤ z √(p (1 − p) / trials), the equation solved for p.
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = (
        z
        / (1 + z * z / trials)
        * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    )
    # Exactly 0 or 1 at the ends; rounding may leave 1e-17.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return Interval(low, high, "wilson")


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The unbiased pass@k (arXiv:2107.03374, eq. 1): 1 − C(n − c, k) / C(n, k).

    Raises:
        ValueError: unless 0 ≤ right ≤ samples and 1 ≤ k ≤ samples.
    """
    if not (0 <= right <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} is not defined for {right} right of {samples} samples")
    # comb works with whole numbers of any size, and is 0 where fewer than k samples are wrong.
    return 1 - math.comb(samples - right, k) / math.comb(samples, k)
