"""TrueSkill ratings of prompts (E-SPL App. B), by the `trueskill` package.

The package refuses a match of one contender and its ratings cannot be hashed, so it stays inside
this file.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from harness.round_data import Rollouts
from harness.types import Rating

ROUNDING = 1e-9
"""Upper bound on how far rounding moves a mean when rewards are added in another order."""


@cache
def _trueskill() -> Any:
    import trueskill

    # E-SPL App. B: β = σ0/2 and τ = σ0/100, TrueSkill's own defaults.
    return trueskill.TrueSkill(
        mu=25.0, sigma=25.0 / 3, beta=25.0 / 6, tau=25.0 / 300, draw_probability=0.10
    )


Margin = Callable[[int, int], float]
"""(position, position) of two contenders → the largest difference of scores that is a draw."""


def ranks(
    scores: Sequence[float], draw_margin: float = 0.0, margin: Margin | None = None
) -> list[int]:
    """Ranks from 0 on, the highest score first; neighbours closer than their margin share one.

    A pair's margin is the larger of `draw_margin` and `margin`. TrueSkill compares neighbours
    only, so draws chain: of 0.50, 0.49 and 0.48 at a margin of 0.01 all three share a rank,
    although the first and the last differ by more.
    """
    # Sorting is stable, so prompts with equal scores keep the order of assignment.
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    places = [0] * len(scores)
    for above, below in pairwise(order):
        close = draw_margin if margin is None else max(draw_margin, margin(above, below))
        # ROUNDING: means of the same rewards, added in another order, must be a draw.
        apart = scores[above] - scores[below] > close + ROUNDING
        places[below] = places[above] + apart
    return places


def rate(
    ratings: Mapping[str, Rating],
    scores: Mapping[str, float],
    draw_margin: float = 0.0,
    margins: Mapping[frozenset[str], float] | None = None,
) -> dict[str, Rating]:
    """The ratings, by prompt id, after one free-for-all match (E-SPL §3, App. B).

    `margins` are draw margins of pairs (`tie_margins`). A prompt with score NaN takes no part, and
    a single contender keeps its rating. Only the order of the scores counts: absolute scores of
    different rounds are never compared, because their tasks and weights differ.
    """
    names = [name for name, score in scores.items() if not math.isnan(score)]
    # The package raises on a single team; without an opponent there is no evidence either.
    if len(names) < 2:
        return {name: ratings[name] for name in names}
    environment = _trueskill()
    teams = [(environment.create_rating(ratings[n].mu, ratings[n].sigma),) for n in names]
    margin = None if margins is None else lambda i, j: margins[frozenset((names[i], names[j]))]
    places = ranks([scores[n] for n in names], draw_margin, margin)
    after = environment.rate(teams, ranks=places)
    return {n: Rating(float(r.mu), float(r.sigma)) for n, (r,) in zip(names, after, strict=True)}


def tie_margins(rollouts: Rollouts, noise: float) -> dict[frozenset[str], float] | None:
    """Draw margins of `noise` standard errors, by pair of prompt ids; None where `noise` is 0."""
    if not noise:
        return None
    return {pair: noise * error for pair, error in paired_errors(rollouts).items()}


def paired_errors(rollouts: Rollouts) -> dict[frozenset[str], float]:
    """Standard error of two prompts' difference in mean reward, if they were equally good.

    Paired by task, so that the spread between easy and hard tasks is not counted as noise: per task
    both prompts' samples together have one variance v (p(1 − p) for 0/1 rewards), and the squared
    error of the mean difference over T tasks is Σ v (1/n + 1/m) / T². Not in the paper.
    """
    errors = {}
    for one, other in combinations(rollouts.prompts, 2):
        terms = []
        for task in rollouts.tasks:
            sides = [[e.reward for e in rollouts.of(p).on(task) if e.scored] for p in (one, other)]
            # A task that one of them has no score on cannot be paired.
            if all(sides):
                variance = float(np.var([*sides[0], *sides[1]]))
                terms.append(variance * sum(1 / len(side) for side in sides))
        error = math.sqrt(math.fsum(terms)) / len(terms) if terms else 0.0
        errors[frozenset((one.id, other.id))] = error
    return errors


def inherit(parents: Sequence[Rating], sigma_inflation: float) -> Rating:
    """The rating of an offspring before its first match.

    Mutation (one parent, E-SPL App. A): μ and sqrt(σ² + Δσ²). Crossover (several, Alg. 2): the
    precision-weighted mean, and σ² = 1/Σ(1/σ_i²) + Δσ². The first is the second with one parent.
    """
    # The sum of precisions treats the parents as independent sources; Δσ then widens the result,
    # because an edit may have changed the quality in either direction.
    precisions = [1 / parent.sigma**2 for parent in parents]
    total = math.fsum(precisions)
    mean = math.fsum(w * p.mu for w, p in zip(precisions, parents, strict=True)) / total
    return Rating(mean, math.sqrt(1 / total + sigma_inflation**2))
