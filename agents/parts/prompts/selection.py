"""Who plays next, and who is handed in. One rule a function; all randomness comes in as `rng`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from agents.parts.prompts.population import Member, Population
from harness.types import Rating, SystemPrompt

SelectionName = Literal[
    "top_random", "softmax", "lucb", "ucb", "newest_uniform", "thompson", "niching"
]
ChampionName = Literal["lower_bound", "mean", "newest"]

Window = Sequence[Member]
Rule = Callable[[Window, int, float, np.random.Generator], list[int]]
"""From the window (oldest first), how many, λ and the rng: which, as positions in the window."""

CAUTION = 2.0
"""Standard deviations below the mean that a lower bound takes."""


def score(rating: Rating, exploration: float) -> float:
    """μ + λσ (E-SPL Eq. 4): good, or not yet known to be bad."""
    return rating.mu + exploration * rating.sigma


def lower(rating: Rating) -> float:
    """μ − 2σ: how good a prompt is at least."""
    return rating.mu - CAUTION * rating.sigma


def select(
    window: Window, count: int, rule: str, exploration: float, rng: np.random.Generator
) -> list[SystemPrompt]:
    """`count` different prompts of the window, or all where it holds fewer."""
    chosen = RULES[rule](window, min(count, len(window)), exploration, rng)
    return [window[i].prompt for i in chosen]


def _ranked(values: Sequence[float]) -> list[int]:
    """Positions from the highest value to the lowest; among equals the newest first."""
    return sorted(range(len(values)), key=lambda i: (-values[i], -i))


def _scores(window: Window, exploration: float) -> list[float]:
    return [score(m.rating, exploration) for m in window]


def _with_random(first: int, size: int, count: int, rng: np.random.Generator) -> list[int]:
    others = [i for i in range(size) if i != first]
    return [first, *(int(i) for i in rng.choice(others, count - 1, replace=False))]


def top_random(
    window: Window, count: int, exploration: float, rng: np.random.Generator
) -> list[int]:
    """The highest score is in, the rest uniform: the experiments' rule (E-SPL App. A.5)."""
    best = _ranked(_scores(window, exploration))[0]
    return _with_random(best, len(window), count, rng)


def newest_uniform(
    window: Window, count: int, exploration: float, rng: np.random.Generator
) -> list[int]:
    """The newest is in, the rest uniform: the released code's default. Ratings decide nothing."""
    return _with_random(len(window) - 1, len(window), count, rng)


def softmax(window: Window, count: int, exploration: float, rng: np.random.Generator) -> list[int]:
    """Drawn without return, p ∝ exp(score / T) (E-SPL Eq. 4).

    The paper does not state T; this is the released code's, max(1, highest score).
    """
    scores = np.array(_scores(window, exploration))
    weights = np.exp((scores - scores.max()) / max(1.0, float(scores.max())))
    drawn = rng.choice(len(window), count, replace=False, p=weights / weights.sum())
    return [int(i) for i in drawn]


def ucb(window: Window, count: int, exploration: float, rng: np.random.Generator) -> list[int]:
    """The highest scores."""
    return _ranked(_scores(window, exploration))[:count]


def lucb(window: Window, count: int, exploration: float, rng: np.random.Generator) -> list[int]:
    """The highest lower bound defends; the highest scores among the others challenge."""
    champion = _ranked([lower(m.rating) for m in window])[0]
    challengers = [i for i in _ranked(_scores(window, exploration)) if i != champion]
    return [champion, *challengers[: count - 1]]


def thompson(window: Window, count: int, exploration: float, rng: np.random.Generator) -> list[int]:
    """The highest of one draw each from N(μ, σ²): as often as it may be the best. Not in the paper.

    λ plays no part: a draw explores by itself.
    """
    draws = [m.rating.mu + m.rating.sigma * float(rng.standard_normal()) for m in window]
    return _ranked(draws)[:count]


def niching(window: Window, count: int, exploration: float, rng: np.random.Generator) -> list[int]:
    """The highest score, then who is good and unlike those already in (fitness sharing).

    What exceeds the lowest score, plus one, is divided by one plus the likeness to each who is in:
    the share of common principles. E-SPL names niching as future work; the rule is ours.
    """
    scores = _scores(window, exploration)
    lowest, chosen = min(scores), list[int]()
    while len(chosen) < count:
        shared = [
            (s - lowest + 1) / (1 + sum(likeness(window[i], window[j]) for j in chosen))
            for i, s in enumerate(scores)
        ]
        chosen.append(next(i for i in _ranked(shared) if i not in chosen))
    return chosen


def likeness(one: Member, other: Member) -> float:
    """Principles that both have, of all that either has; 1 where neither has any."""
    a, b = set(one.prompt.principles), set(other.prompt.principles)
    return len(a & b) / len(a | b) if a | b else 1.0


RULES: Mapping[str, Rule] = {
    "top_random": top_random,
    "softmax": softmax,
    "lucb": lucb,
    "ucb": ucb,
    "newest_uniform": newest_uniform,
    "thompson": thompson,
    "niching": niching,
}


def champion(population: Population, rule: str) -> SystemPrompt:
    """The prompt to hand in, on training evidence only.

    "lower_bound" and "mean" consider members that have played: an inherited rating is hearsay, and
    crossover can narrow it without a single episode. "newest" is the released code's choice, which
    hands in a prompt nobody has seen play.
    """
    if rule == "newest":
        return population.newest.prompt
    value = lower if rule == "lower_bound" else _mean
    proven = [m for m in population if m.played] or list(population)
    # Among equals the one that is known better, then the older one.
    return max(proven, key=lambda m: (value(m.rating), -m.rating.sigma, -m.born)).prompt


def _mean(rating: Rating) -> float:
    return rating.mu
