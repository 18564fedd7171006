"""Paired tests and intervals for the difference of two agents or methods.

Plain numbers in, plain numbers out. Differences are always paired; two samples are never pooled. An
interval that would cover less often than its level is refused, with the reason.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from leaderboards.stats.intervals import LEVEL, Interval, mean, t_interval, wilson
from leaderboards.stats.student_t import two_sided

BOOTSTRAP_COVERAGE = {
    5: 0.821,
    8: 0.879,
    10: 0.889,
    15: 0.911,
    20: 0.921,
    30: 0.927,
    50: 0.934,
    100: 0.938,
}
"""Coverage of a 95 % percentile bootstrap interval for a mean, by the number of values:
the lowest of three shapes (normal, skewed like a gamma of shape 4, and Student's t with 5 degrees
of freedom), 10,000 repeats each. Made by `python -m benchmarks.coverage --bootstrap`."""

BOOTSTRAP_LEAST = 0.93
_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Effect:
    """A paired difference over test items or over training seeds.

    `estimand` is "this agent" for items and "this method" for seeds, as in published JSON. `units`
    counts the pairs: tasks or seeds. `p` is two-sided, of the test named in `test`; `holm` is p
    adjusted for all contrasts requested together. `reason` says why the interval is missing.
    """

    estimand: Literal["this agent", "this method"]
    value: float | None
    interval: Interval | None
    p: float | None
    units: int
    test: str = ""
    reason: str = ""
    holm: float | None = None

    def clipped(self, unit: bool) -> "Effect":
        """The possible part of the interval: rewards within [0, 1] differ by at most 1."""
        if self.interval is None or not unit:
            return self
        return replace(self, interval=self.interval.clipped(-1.0, 1.0))


def spread(values: Sequence[float]) -> float | None:
    """The standard deviation (n − 1); None with fewer than two values, or if all are equal."""
    centre = mean(values)
    if centre is None or len(values) < 2:
        return None
    # Equal but for rounding, by the same threshold as `t_interval`.
    if max(values) - min(values) <= 1e-12 * max(1.0, abs(centre)):
        return None
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def paired_t(differences: Sequence[float]) -> float | None:
    """The two-sided p of Student's paired t, df = n − 1; None without spread."""
    deviation, centre = spread(differences), mean(differences)
    if deviation is None or centre is None:
        return None
    ratio = abs(centre) / (deviation / math.sqrt(len(differences)))
    return two_sided(ratio, len(differences) - 1)


def mcnemar(only_a: int, only_b: int) -> float:
    """McNemar's exact p, from the numbers of tasks that only one of two agents solved.

    Only for one sample a task; with several, the outcomes of a task are not a single trial.
    """
    ways = reached = 1  # binomial coefficient C(total, n), and its sum up to n
    total = only_a + only_b
    for n in range(min(only_a, only_b)):
        ways = ways * (total - n) // (n + 1)
        reached += ways
    # If the agents are equally good, each of these tasks is a fair coin. With equal counts the two
    # tails overlap, and twice one of them exceeds 1. Whole numbers up to here: nothing was rounded.
    return min(1.0, 2 * reached / 2**total) if total else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment, which bounds the probability of any false finding.

    A contrast without a p still counts as a contrast.
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for place, (p, i) in enumerate(order):
        # An adjusted p must not be below that of a smaller p.
        highest = max(highest, min(1.0, (len(p_values) - place) * p))
        adjusted[i] = highest
    return adjusted


def newcombe(a: tuple[int, int], b: tuple[int, int], level: float = LEVEL) -> Interval:
    """Newcombe's interval for the difference of two shares, each given as (right, of).

    It is built from two Wilson intervals, so it is not empty if all outcomes agree. It assumes
    independence, which for pairs that agree makes it too wide rather than too narrow.
    """
    first, second = wilson(*a, level), wilson(*b, level)
    share_a, share_b = a[0] / a[1], b[0] / b[1]
    # Newcombe (1998), his method 10: the limits' distances from each share add as if the two were
    # independent.
    gap = share_a - share_b
    below = math.hypot(share_a - first.low, second.high - share_b)
    above = math.hypot(first.high - share_a, share_b - second.low)
    return Interval(gap - below, gap + above, "wilson")


def bootstrap_refusal(count: int) -> str:
    """The reason that a percentile bootstrap over `count` values is refused; "" if it is not."""
    known = [coverage for n, coverage in BOOTSTRAP_COVERAGE.items() if n <= count]
    if known and known[-1] >= BOOTSTRAP_LEAST:
        return ""
    enough = next(n for n, c in BOOTSTRAP_COVERAGE.items() if c >= BOOTSTRAP_LEAST)
    covers = f"covers {100 * known[-1]:.0f} %" if known else "was not found to cover"
    return f"a 95 % bootstrap over {count} {covers} instead of 95 %; it takes {enough} or more"


def bootstrap(values: Sequence[float], level: float = LEVEL, seed: int = 0) -> Interval | None:
    """The percentile bootstrap interval for the mean, if its simulated coverage allows it.

    Raises:
        ValueError: with the reason, if it would cover too rarely for so few values.
    """
    if refusal := bootstrap_refusal(len(values)):
        raise ValueError(refusal)
    if spread(values) is None:
        return None
    import numpy as np

    rng = np.random.default_rng(seed)
    drawn = np.asarray(values)[rng.integers(0, len(values), (_RESAMPLES, len(values)))]
    low, high = np.quantile(drawn.mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), "bootstrap")


def over_seeds(differences: Sequence[float], by_bootstrap: bool = False) -> Effect:
    """The effect over training seeds: the difference of another pair of training runs."""
    n = len(differences)
    reason = {0: "no common seed", 1: "1 seed"}.get(n, "")
    if not reason and spread(differences) is None:
        reason = "no spread"
    interval = bootstrap(differences) if by_bootstrap else t_interval(differences)
    p = paired_t(differences)
    test = f"paired t, df {n - 1}" if p is not None else ""
    return Effect("this method", mean(differences), interval, p, n, test, reason)


def over_tasks(a: Sequence[float], b: Sequence[float], unit: bool, single: bool = False) -> Effect:
    """The effect over test items: the difference of these agents on other tasks like these.

    `a` and `b` are the agents' means on the same tasks, in the same order. `unit`: rewards lie
    within [0, 1]. `single`: each mean is one outcome, 0 or 1; only then McNemar's test is used.
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    n = len(differences)
    if n == 0:
        return Effect("this agent", None, None, None, 0, reason="no common task")
    interval, p, test = t_interval(differences), paired_t(differences), f"paired t, df {n - 1}"
    if single:
        only_a, only_b = (sum(d == side for d in differences) for side in (1, -1))
        p, test = mcnemar(only_a, only_b), f"McNemar, exact, {only_a} against {only_b}"
    if interval is None and unit:
        interval = _agreeing(a, b)
    reason = "" if interval else ("1 task" if n == 1 else "no spread")
    test = test if p is not None else ""
    return Effect("this agent", mean(differences), interval, p, n, test, reason)


def _agreeing(a: Sequence[float], b: Sequence[float]) -> Interval | None:
    """The interval if no difference varies: all outcomes, or the agents on every task, agree."""
    if set(a) <= {0.0, 1.0} and len(set(a)) == 1 and set(b) <= {0.0, 1.0} and len(set(b)) == 1:
        return newcombe((round(sum(a)), len(a)), (round(sum(b)), len(b)))
    if all(x == y for x, y in zip(a, b, strict=True)):
        most = wilson(0, len(a)).high  # bound on the share of tasks on which they differ by 1
        return Interval(-most, most, "wilson")
    return None
