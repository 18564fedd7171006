"""How good prompts are believed to be: TrueSkill (E-SPL App. B), by the `trueskill` package.

The package refuses a match of one and its ratings cannot be hashed, so it stays inside this file.
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
"""Batch means of the same rewards, added up in another order, differ by less than this."""


@cache
def _league() -> Any:
    import trueskill

    return trueskill.TrueSkill(
        mu=25.0, sigma=25.0 / 3, beta=25.0 / 6, tau=25.0 / 300, draw_probability=0.10
    )


Margin = Callable[[int, int], float]
"""Of two contenders, by position: how close they must be for a draw."""


def ranks(scores: Sequence[float], tie: float = 0.0, margin: Margin | None = None) -> list[int]:
    """Places from 0 on, the highest score first. Who is within `tie` of the next one draws with it,
    or within `margin` where that is more.

    TrueSkill compares neighbours only, so draws chain: of 0.50, 0.49 and 0.48 at a tolerance of
    0.01 all three share a place, although the first and the last differ by more.
    """
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    places = [0] * len(scores)
    for above, below in pairwise(order):
        close = tie if margin is None else max(tie, margin(above, below))
        apart = scores[above] - scores[below] > close + ROUNDING
        places[below] = places[above] + apart
    return places


def rate(
    ratings: Mapping[str, Rating],
    scores: Mapping[str, float],
    tie: float = 0.0,
    margins: Mapping[frozenset[str], float] | None = None,
) -> dict[str, Rating]:
    """The ratings of all who have a score after one free-for-all match (E-SPL §3, App. B).

    `margins` are draw margins of pairs, where noise is to decide nothing (`paired_errors`). A score
    of NaN takes no part. One contender alone keeps its rating: nobody was beaten.
    """
    names = [name for name, score in scores.items() if not math.isnan(score)]
    if len(names) < 2:
        return {name: ratings[name] for name in names}
    league = _league()
    teams = [(league.create_rating(ratings[n].mu, ratings[n].sigma),) for n in names]
    margin = None if margins is None else lambda i, j: margins[frozenset((names[i], names[j]))]
    after = league.rate(teams, ranks=ranks([scores[n] for n in names], tie, margin))
    return {n: Rating(float(r.mu), float(r.sigma)) for n, (r,) in zip(names, after, strict=True)}


def paired_errors(rollouts: Rollouts) -> dict[frozenset[str], float]:
    """The standard error of the difference of two prompts' batch means, if they were equally good.

    Paired by task, so that hard tasks are no noise: per task both prompts' attempts together have
    one variance v (p(1 − p) for right and wrong), and the squared error of the mean difference over
    T tasks is Σ v (1/n + 1/m) / T². Not in the paper.
    """
    errors = {}
    for one, other in combinations(rollouts.prompts, 2):
        terms = []
        for task in rollouts.tasks:
            sides = [[e.reward for e in rollouts.of(p).on(task) if e.scored] for p in (one, other)]
            if all(sides):
                variance = float(np.var([*sides[0], *sides[1]]))
                terms.append(variance * sum(1 / len(side) for side in sides))
        error = math.sqrt(math.fsum(terms)) / len(terms) if terms else 0.0
        errors[frozenset((one.id, other.id))] = error
    return errors


def inherit(parents: Sequence[Rating], widen: float) -> Rating:
    """What is believed of a child nobody has seen play.

    One parent (mutation, E-SPL App. A): μ and sqrt(σ² + Δσ²). Several (crossover, Alg. 2): the
    precision-weighted mean, and σ² = 1/Σ(1/σ_i²) + Δσ². The first is the second with one parent.
    """
    precisions = [1 / parent.sigma**2 for parent in parents]
    total = math.fsum(precisions)
    mean = math.fsum(w * p.mu for w, p in zip(precisions, parents, strict=True)) / total
    return Rating(mean, math.sqrt(1 / total + widen**2))
