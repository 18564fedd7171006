"""How good prompts are believed to be: TrueSkill (E-SPL App. B), by the `trueskill` package.

The package refuses a match of one and its ratings cannot be hashed, so it stays inside this file.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from harness.types import Rating

ROUNDING = 1e-9
"""Batch means of the same rewards, added up in another order, differ by less than this."""


@cache
def _league() -> Any:
    import trueskill

    return trueskill.TrueSkill(
        mu=25.0, sigma=25.0 / 3, beta=25.0 / 6, tau=25.0 / 300, draw_probability=0.10
    )


def ranks(scores: Sequence[float], tie: float = 0.0) -> list[int]:
    """Places from 0 on, the highest score first. Who is within `tie` of the next one draws with it.

    TrueSkill compares neighbours only, so draws chain: of 0.50, 0.49 and 0.48 at a tolerance of
    0.01 all three share a place, although the first and the last differ by more.
    """
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    places = [0] * len(scores)
    for above, below in pairwise(order):
        apart = scores[above] - scores[below] > tie + ROUNDING
        places[below] = places[above] + apart
    return places


def rate(
    ratings: Mapping[str, Rating], scores: Mapping[str, float], tie: float = 0.0
) -> dict[str, Rating]:
    """The ratings of all who have a score after one free-for-all match (E-SPL §3, App. B).

    A score of NaN takes no part. One contender alone keeps its rating: nobody was beaten.
    """
    names = [name for name, score in scores.items() if not math.isnan(score)]
    if len(names) < 2:
        return {name: ratings[name] for name in names}
    league = _league()
    teams = [(league.create_rating(ratings[n].mu, ratings[n].sigma),) for n in names]
    after = league.rate(teams, ranks=ranks([scores[n] for n in names], tie))
    return {n: Rating(float(r.mu), float(r.sigma)) for n, (r,) in zip(names, after, strict=True)}


def inherit(parents: Sequence[Rating], widen: float) -> Rating:
    """What is believed of a child nobody has seen play.

    One parent (mutation, E-SPL App. A): μ and sqrt(σ² + Δσ²). Several (crossover, Alg. 2): the
    precision-weighted mean, and σ² = 1/Σ(1/σ_i²) + Δσ². The first is the second with one parent.
    """
    precisions = [1 / parent.sigma**2 for parent in parents]
    total = math.fsum(precisions)
    mean = math.fsum(w * p.mu for w, p in zip(precisions, parents, strict=True)) / total
    return Rating(mean, math.sqrt(1 / total + widen**2))
