"""Comparison of runs with unscored outcomes: pairs of scored tasks, and bounds on the rest.

A run's own score is the mean over its scored tasks. If the hardest tasks are the ones that could
not be scored, that score is too high, so two runs are compared over the tasks scored in both.
"""

import math
from collections.abc import Mapping, Sequence

from leaderboards.stats.intervals import mean
from leaderboards.stats.paired import paired_t
from leaderboards.stats.scores import Result

Runs = Mapping[int, Result]
"""A row's results by training seed."""

Range = tuple[float, float]
"""The lowest and the highest reward that an unscored outcome could have had."""


def paired_difference(a: Result, b: Result) -> float | None:
    """The mean of a − b over the tasks that both runs have scored; None without such a task."""
    if a.means.keys() == b.means.keys():
        # The difference of the printed scores, to the last digit.
        return None if a.score is None or b.score is None else a.score - b.score
    return mean([a.means[task] - b.means[task] for task in sorted(a.means.keys() & b.means.keys())])


def paired_differences(a: Runs, b: Runs) -> list[float]:
    """The differences of all common seeds that have one, by rising seed."""
    found = (paired_difference(a[seed], b[seed]) for seed in sorted(a.keys() & b.keys()))
    return [gap for gap in found if gap is not None]


def score_bounds(run: Result, rewards: Range) -> Range:
    """The score if every unscored outcome had the lowest reward, and the highest."""
    if not run.unscored and run.score is not None:
        return run.score, run.score
    total = math.fsum(run.means[task] * n for task, n in run.counts.items())
    low, high = (total + run.unscored * reward for reward in rewards)
    return low / len(run.entry.outcomes), high / len(run.entry.outcomes)


def bounds_by_seed(a: Runs, b: Runs, rewards: Range) -> list[Range]:
    """The least and the largest a − b of each common seed, seeds without a score included."""
    found = []
    for seed in sorted(a.keys() & b.keys()):
        mine, theirs = score_bounds(a[seed], rewards), score_bounds(b[seed], rewards)
        found.append((mine[0] - theirs[1], mine[1] - theirs[0]))
    return found


def difference_bounds(a: Runs, b: Runs, rewards: Range) -> Range | None:
    """Bounds of the mean difference over common seeds; None if all their outcomes are scored."""
    common = a.keys() & b.keys()
    if not any(run.unscored for side in (a, b) for seed, run in side.items() if seed in common):
        return None
    lows, highs = zip(*bounds_by_seed(a, b, rewards), strict=True)
    return math.fsum(lows) / len(lows), math.fsum(highs) / len(highs)


def decided_p(a: Runs, b: Runs, rewards: Range) -> tuple[float, bool] | None:
    """The p of an order that no reward of the unscored outcomes would reverse, and `a is better`.

    It is the larger of two: that of the scored pairs, and that of the case in which the unscored
    outcomes are worst for the better row. None if the order is open.
    """
    gaps = paired_differences(a, b)
    p, better = paired_t(gaps), math.fsum(gaps) > 0
    if p is None:
        return None
    worst = [low if better else high for low, high in bounds_by_seed(a, b, rewards)]
    worst_p = paired_t(worst)
    if worst_p is None or math.fsum(worst) * (1 if better else -1) <= 0:
        return None
    return max(p, worst_p), better


def any_unscored(runs: Runs) -> bool:
    """True if a run has an unscored outcome."""
    return any(run.unscored for run in runs.values())


def reward_range(results: Sequence[Result]) -> Range:
    """[0, 1] if all rewards lie there, otherwise the lowest and the highest reward there is."""
    low = min((run.min_reward for run in results), default=0.0)
    high = max((run.max_reward for run in results), default=1.0)
    return min(low, 0.0), max(high, 1.0)
