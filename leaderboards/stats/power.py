"""Power analysis: the difference that a number of tasks, samples and seeds can show.

Power is that of the paired t test at 5 %, from the noncentral t distribution. Spreads are standard
deviations on the scale of the rewards.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from leaderboards.stats.intervals import mean
from leaderboards.stats.paired import spread
from leaderboards.stats.scores import Result
from leaderboards.stats.unscored import paired_differences

ALPHA = 0.05
POWER = 0.80


@dataclass(frozen=True, slots=True)
class Design:
    """n tasks × k samples × s seeds; `own_tasks`: every seed draws its own test tasks."""

    tasks: int
    samples: int
    seeds: int
    own_tasks: bool = False


@dataclass(frozen=True, slots=True)
class Spread:
    """The components of the variance of paired differences.

    `task` is the deviation over tasks of the true difference between two agents, `sample` the
    variance of a reward within one task and agent, `seed` the deviation over training seeds of the
    true difference between two methods.
    """

    task: float
    sample: float
    seed: float

    def sd_over_items(self, design: Design) -> float:
        """The standard deviation over tasks of the difference between two rows' task means."""
        # Var(a − b) = Var(a) + Var(b): both rows are sampled, hence the factor 2.
        noise = 2 * self.sample / (design.samples * design.seeds)
        own = design.seeds if design.own_tasks else 1
        return math.sqrt(self.task**2 / own + noise)

    def sd_over_seeds(self, design: Design) -> float:
        """The standard deviation over seeds of the difference between two scores."""
        noise = 2 * self.sample / design.samples / design.tasks
        # A seed with tasks of its own draws them too; shared tasks cancel in the difference.
        drawn = self.task**2 / design.tasks if design.own_tasks else 0.0
        return math.sqrt(self.seed**2 + drawn + noise)


ASSUMED = Spread(task=0.25, sample=0.25, seed=0.05)
"""The assumption without measurements: samples vary like coin flips (the maximum), differences
between methods vary by 25 points over tasks and by 5 points over seeds."""


@dataclass(frozen=True, slots=True)
class DetectableDifference:
    """The smallest true difference found in 80 % of experiments; None: too few units, or over 1."""

    agent: float | None
    method: float | None


def power(effect: float, deviation: float, units: int, alpha: float = ALPHA) -> float:
    """The probability that a two-sided paired t test over `units` pairs finds a true difference."""
    if units < 2:
        return 0.0
    if deviation <= 0:
        return 1.0 if effect else alpha
    from scipy.special import nctdtr, stdtrit

    # Under the alternative the t statistic has a noncentral t distribution with this shift.
    df = units - 1
    shift = abs(effect) / deviation * math.sqrt(units)
    critical = float(stdtrit(df, 1 - alpha / 2))
    found = float(1 - nctdtr(df, shift, critical) + nctdtr(df, shift, -critical))
    return found if math.isfinite(found) else _by_quadrature(shift, critical, df)


def _by_quadrature(shift: float, critical: float, df: int) -> float:
    """`power` by averaging over the distribution of the deviation: SciPy's series fails at df 1."""
    import numpy as np
    from scipy.special import gammaincinv, ndtr

    # Midpoints of equal shares of probability: given the sample deviation, the mean is normal.
    shares = (np.arange(4096) + 0.5) / 4096
    deviations = np.sqrt(2 * gammaincinv(df / 2, shares) / df)
    above = ndtr(shift - critical * deviations) + ndtr(-shift - critical * deviations)
    return float(above.mean())


def detectable_difference(
    deviation: float, units: int, alpha: float = ALPHA, wanted: float = POWER
) -> float | None:
    """The smallest difference found with that power; None with fewer than two pairs."""
    if units < 2:
        return None
    if deviation <= 0:
        return 0.0
    low, high = 0.0, deviation
    # Power grows with the difference, so doubling brackets it and bisection finds it.
    while power(high, deviation, units, alpha) < wanted:
        low, high = high, 2 * high
    # 60 halvings leave less of the bracket than a double can tell apart.
    for _ in range(60):
        middle = (low + high) / 2
        enough = power(middle, deviation, units, alpha) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def smallest(design: Design, known: Spread, contrasts: int = 1) -> DetectableDifference:
    """The smallest differences that the design can show, adjusted for `contrasts`.

    Holm's first step is Bonferroni's, so this holds for the strictest of the contrasts.
    """
    alpha = ALPHA / max(1, contrasts)
    agent = detectable_difference(known.sd_over_items(design), design.tasks, alpha)
    method = detectable_difference(known.sd_over_seeds(design), design.seeds, alpha)
    return DetectableDifference(_possible(agent), _possible(method))


def _possible(effect: float | None) -> float | None:
    return effect if effect is not None and effect <= 1 else None


def seeds_needed(design: Design, known: Spread, effect: float, contrasts: int = 1) -> int | None:
    """The fewest seeds that show this difference between methods; None if 1,000 are too few."""
    deviation, alpha = known.sd_over_seeds(design), ALPHA / max(1, contrasts)
    for seeds in range(2, 1001):
        if power(effect, deviation, seeds, alpha) >= POWER:
            return seeds
    return None


def measured_spread(results: Iterable[Result], reference: str = "base") -> Spread | None:
    """The spreads measured in finished runs of one Track; None if no two runs share a seed.

    Each method is paired with the reference, or else with the first method. The variance due to
    sampling is subtracted. The spread between seeds needs three common seeds; otherwise it is
    assumed.
    """
    by_method: dict[str, dict[int, Result]] = {}
    for one in results:
        by_method.setdefault(one.entry.method, {}).setdefault(one.entry.seed, one)
    if len(by_method) < 2:
        return None
    first = reference if reference in by_method else next(iter(by_method))
    inner = mean([v for of in by_method.values() for one in of.values() for v in _within(one)])
    sample = ASSUMED.sample if inner is None else inner
    tasks: list[float] = []
    seeds: list[float] = []
    for method, mine in by_method.items():
        if method == first:
            continue
        tasks += _over_tasks(mine, by_method[first], sample)
        seeds += _over_seeds(mine, by_method[first], sample)
    if not tasks:
        return None
    # An estimate of variance after subtracting noise can be negative; then none was observed.
    seed = math.sqrt(max(0.0, mean(seeds) or 0.0)) if seeds else ASSUMED.seed
    return Spread(math.sqrt(max(0.0, mean(tasks) or 0.0)), sample, seed)


def contrast_spread(
    results: Iterable[Result], method: str, reference: str, own_tasks: bool = False
) -> Spread | None:
    """The spreads of one contrast, measured in finished runs of one Track.

    None with fewer than three seeds that both methods have: their spread is not known then, and
    that of other methods may be far from it. `own_tasks`: every seed draws its own test tasks.
    """
    runs: dict[str, dict[int, Result]] = {method: {}, reference: {}}
    for one in results:
        if one.entry.method in runs:
            runs[one.entry.method].setdefault(one.entry.seed, one)
    mine, theirs = runs[method], runs[reference]
    inner = mean([v for of in runs.values() for one in of.values() for v in _within(one)])
    sample = ASSUMED.sample if inner is None else inner
    over_seeds = _over_seeds(mine, theirs, sample)
    if not over_seeds:
        return None
    task = max(0.0, mean(_over_tasks(mine, theirs, sample)) or 0.0)
    # Seeds that draw their own tasks differ by those too; the design adds them again.
    count = mean([float(len(one.means)) for one in mine.values()]) or 1.0
    seed = over_seeds[0] - (task / count if own_tasks else 0.0)
    return Spread(math.sqrt(task), sample, math.sqrt(max(0.0, seed)))


def _within(one: Result) -> list[float]:
    """Each task's unbiased variance over its samples, for tasks with two or more."""
    by_task: dict[str, list[float]] = {}
    for outcome in one.entry.outcomes:
        if outcome.reward is not None:
            by_task.setdefault(outcome.task, []).append(outcome.reward)
    return [(spread(v) or 0.0) ** 2 for v in by_task.values() if len(v) > 1]


def _over_tasks(
    mine: Mapping[int, Result], theirs: Mapping[int, Result], sample: float
) -> list[float]:
    """For each common seed, the variance over tasks of the difference, without sampling noise."""
    found = []
    for seed in mine.keys() & theirs.keys():
        a, b = mine[seed], theirs[seed]
        both = a.means.keys() & b.means.keys()
        deviation = spread([a.means[t] - b.means[t] for t in sorted(both)])
        noise = mean([sample / a.counts[t] + sample / b.counts[t] for t in sorted(both)])
        if len(both) > 1:
            found.append((deviation or 0.0) ** 2 - (noise or 0.0))
    return found


def _over_seeds(
    mine: Mapping[int, Result], theirs: Mapping[int, Result], sample: float
) -> Sequence[float]:
    """The variance over seeds of the difference, without sampling noise."""
    common = sorted(mine.keys() & theirs.keys())
    differences = paired_differences(mine, theirs)
    if len(differences) < 3:
        return []
    drawn = mean([float(sum(mine[s].counts.values())) for s in common]) or 1.0
    # Both scores are sampled, and each is a mean over all samples of its run.
    return [(spread(differences) or 0.0) ** 2 - 2 * sample / drawn]
