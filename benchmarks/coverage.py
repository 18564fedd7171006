"""Simulated coverage of the intervals, false positives of the tests, and power against the plan.

    python -m benchmarks.coverage                 # everything; about a minute on one core
    python -m benchmarks.coverage --bootstrap     # the table in leaderboards/stats/paired.py

Every number is simulated from the seed printed on the first line.
"""

import argparse
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from leaderboards.stats.intervals import t_interval, wilson
from leaderboards.stats.paired import BOOTSTRAP_COVERAGE, holm, over_seeds, over_tasks
from leaderboards.stats.power import Design, Spread, power, smallest

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]
SHAPES: Mapping[str, Draw] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "skewed": lambda rng, size: rng.gamma(4.0, size=size) - 4.0,
    "heavy": lambda rng, size: rng.standard_t(5, size=size),
}


def bootstrap_coverage(
    n: int, draw: Draw, repeats: int, resamples: int, rng: np.random.Generator
) -> float:
    """Coverage of 0 by a 95 % percentile bootstrap over n values with mean 0."""
    covered, batch = 0, 100
    for _ in range(repeats // batch):
        values = draw(rng, (batch, n))
        weights = rng.multinomial(n, np.full(n, 1 / n), resamples) / n  # the same for one batch
        low, high = np.quantile(values @ weights.T, [0.025, 0.975], axis=1)
        covered += int(((low <= 0) & (high >= 0)).sum())
    return covered / (repeats // batch * batch)


def t_coverage(n: int, draw: Draw, repeats: int, rng: np.random.Generator) -> float:
    """Coverage of 0 by a 95 % t interval over n values with mean 0."""
    intervals = (t_interval(list(draw(rng, (n,)))) for _ in range(repeats))
    return sum(i is not None and i.low <= 0 <= i.high for i in intervals) / repeats


def wilson_coverage(share: float, n: int, repeats: int, rng: np.random.Generator) -> float:
    """Coverage by Wilson's 95 % interval of the share that n trials were drawn with."""
    found = [wilson(int(k), n) for k in rng.binomial(n, share, repeats)]
    return sum(i.low <= share <= i.high for i in found) / repeats


def tasks_coverage(
    a: float, b: float, tasks: int, samples: int, repeats: int, rng: np.random.Generator
) -> float:
    """Coverage of the difference of two agents' chances by the interval over tasks."""
    covered = 0
    for _ in range(repeats):
        first, second = (outcomes(np.full(tasks, share), samples, rng) for share in (a, b))
        interval = over_tasks(list(first), list(second), unit=True).clipped(True).interval
        covered += interval is not None and interval.low <= a - b <= interval.high
    return covered / repeats


def outcomes(
    share: NDArray[np.float64], samples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Each task's mean of 0-or-1 rewards, from its chance of being right."""
    return rng.binomial(samples, share) / samples


def tasks_false_positives(
    tasks: int, samples: int, repeats: int, rng: np.random.Generator
) -> float:
    """Share of significant differences between two agents with the same chances.

    A task's chance of being right is near a blind guesser's (0.125).
    """
    wrong = 0
    for _ in range(repeats):
        share = rng.beta(2.0, 14.0, tasks)
        a, b = (list(outcomes(share, samples, rng)) for _ in range(2))
        p = over_tasks(a, b, unit=True, single=samples == 1).p
        wrong += p is not None and p <= 0.05
    return wrong / repeats


def family_false_positives(
    methods: int, seeds: int, tasks: int, repeats: int, rng: np.random.Generator
) -> float:
    """Share of experiments in which any of several useless methods passes after Holm."""
    wrong = 0
    for _ in range(repeats):
        share = rng.beta(2.0, 14.0, (seeds, tasks))
        scores = np.array([outcomes(share, 2, rng).mean(axis=1) for _ in range(methods + 1)])
        found = [over_seeds(list(scores[m] - scores[0])).p for m in range(1, methods + 1)]
        wrong += any(p is not None and p <= 0.05 for p in holm(found))
    return wrong / repeats


def seeds_power(
    design: Design, known: Spread, effect: float, repeats: int, rng: np.random.Generator
) -> float:
    """Power to find a true difference over seeds, simulated down to single outcomes."""
    found = 0
    for _ in range(repeats):
        a, b = runs(design, known, effect, rng)
        p = over_seeds(list(a.mean(axis=1) - b.mean(axis=1))).p
        found += p is not None and p <= 0.05
    return found / repeats


def runs(
    design: Design, known: Spread, effect: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Task means [seed, task] of two methods whose true scores differ by `effect` on average.

    Chances lie around one half, so that none has to be cut off at 0 or 1 and the variance within
    tasks is the largest there is; `known.sample` must be 0.25.
    """
    shift = rng.normal(effect, known.seed, (design.seeds, 1))
    own = rng.normal(0.0, known.task, (design.seeds, design.tasks))
    half = (shift + own) / 2
    a = outcomes(np.clip(0.5 + half, 0, 1), design.samples, rng)
    b = outcomes(np.clip(0.5 - half, 0, 1), design.samples, rng)
    return a, b


def bootstrap_table(repeats: int, rng: np.random.Generator) -> None:
    """Print the table of leaderboards/stats/paired.py."""
    print("\npercentile bootstrap, 95 %, 1,000 resamples")
    print("      n " + "".join(f"{name:>10}" for name in SHAPES) + "    lowest  in the code")
    for n, known in BOOTSTRAP_COVERAGE.items():
        cover = [bootstrap_coverage(n, draw, repeats, 1000, rng) for draw in SHAPES.values()]
        cells = "".join(f"{c:10.3f}" for c in cover)
        print(f"{n:7d} {cells}{min(cover):10.3f}  {known:.3f}", flush=True)


def everything(repeats: int, rng: np.random.Generator) -> None:
    """Print all the other tables."""
    print("\nStudent's t, 95 %\n      n " + "".join(f"{name:>10}" for name in SHAPES))
    for n in (3, 5, 10, 30, 100):
        cells = "".join(f"{t_coverage(n, draw, repeats, rng):10.3f}" for draw in SHAPES.values())
        print(f"{n:7d} {cells}")
    print("\nWilson, 95 %: share, trials, coverage")
    for share, n in ((0.01, 30), (0.1, 30), (0.5, 30), (0.02, 100), (0.9, 100)):
        print(f"  {share:5.2f} {n:5d}  {wilson_coverage(share, n, repeats, rng):.3f}")
    print("\ntwo agents over tasks, 95 %: chances, tasks, samples, coverage")
    for a, b, tasks, samples in (
        *((0.99, 0.01, 30, 1), (0.99, 0.95, 30, 1), (0.05, 0.02, 30, 4)),
        *((0.5, 0.4, 100, 1), (0.5, 0.4, 30, 4)),
    ):
        found = tasks_coverage(a, b, tasks, samples, repeats, rng)
        print(f"  {a:.2f} {b:.2f} {tasks:5d} {samples:3d}  {found:.3f}")
    print("\nfalse positives at 5 %, two equal agents over tasks: tasks, samples, rate")
    for tasks, samples in ((30, 1), (30, 4), (64, 1), (64, 2), (100, 2)):
        rate = tasks_false_positives(tasks, samples, repeats, rng)
        print(f"  {tasks:5d} {samples:3d}  {rate:.3f}")
    print("\nfamily-wise false positives at 5 % after Holm: methods, seeds, rate")
    for methods, seeds in ((3, 3), (3, 5), (3, 10), (8, 5), (8, 10)):
        rate = family_false_positives(methods, seeds, 64, repeats, rng)
        print(f"  {methods:5d} {seeds:3d}  {rate:.3f}")
    print("\npower over seeds, planned and simulated, at the smallest difference of the plan")
    known = Spread(task=0.1, sample=0.25, seed=0.04)
    for seeds, tasks, samples in ((3, 100, 2), (5, 100, 2), (10, 60, 4)):
        design = Design(tasks, samples, seeds, own_tasks=True)
        least = smallest(design, known).method
        assert least is not None
        planned = power(least, known.sd_over_seeds(design), seeds)
        found = seeds_power(design, known, least, repeats, rng)
        print(
            f"  {seeds:3d} seeds {tasks:4d} tasks × {samples}: {100 * least:5.1f} points, ", end=""
        )
        print(f"planned {planned:.3f}, found {found:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", action="store_true", help="only the table in the code")
    parser.add_argument("--repeats", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20261122)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    only = " --bootstrap" if asked.bootstrap else ""
    print(f"python -m benchmarks.coverage{only} --repeats {asked.repeats} --seed {asked.seed}")
    if not asked.bootstrap:
        everything(asked.repeats, rng)
    bootstrap_table(asked.repeats, rng)


if __name__ == "__main__":
    main()
