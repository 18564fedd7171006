"""Selection: the prompts that compete in a round, and the final prompt.

One rule per function; all randomness comes in as `rng`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from agents.parts.prompts.population import Member, Population
from harness.round_data import Round
from harness.types import Assignment, Rating, SystemPrompt, Task

SelectionName = Literal[
    "top_random", "softmax", "lucb", "ucb", "newest_uniform", "thompson", "niching"
]
FinalPromptRule = Literal["lower_bound", "mean", "newest"]

Window = Sequence[Member]
Rule = Callable[[Window, int, float, np.random.Generator], list[int]]
"""(window from the oldest, count, λ, rng) → `count` different positions in the window."""

LOWER_BOUND_SIGMAS = 2.0
"""Standard deviations below the mean at which the lower bound lies."""


def ucb_score(rating: Rating, ucb_lambda: float) -> float:
    """μ + λσ (E-SPL Eq. 4): high for prompts that are good, or not yet known to be bad."""
    return rating.mu + ucb_lambda * rating.sigma


def lower_bound(rating: Rating) -> float:
    """μ − 2σ: a quality that the prompt very likely has."""
    return rating.mu - LOWER_BOUND_SIGMAS * rating.sigma


def select(
    window: Window,
    count: int,
    rule: str,
    ucb_lambda: float,
    rng: np.random.Generator,
    always_newest: bool = False,
) -> list[SystemPrompt]:
    """`count` different prompts of the window, or all where it holds fewer.

    With `always_newest` the newest is one of them, and the rule chooses among the others.
    """
    places = min(count, len(window))
    # `newest_uniform` has the newest anyway.
    if always_newest and rule != "newest_uniform" and places:
        others = RULES[rule](window[:-1], places - 1, ucb_lambda, rng) if places > 1 else []
        return [window[i].prompt for i in (len(window) - 1, *others)]
    chosen = RULES[rule](window, places, ucb_lambda, rng)
    return [window[i].prompt for i in chosen]


def tournament(
    prompts: Sequence[SystemPrompt], filler: SystemPrompt, tasks: Sequence[Task], round: Round
) -> list[Assignment]:
    """Every prompt on every task, N samples each; `filler` takes the places of missing prompts.

    The samples of `filler` beyond its first N are groups of their own, numbered from N on, so that
    they differ; its rating is updated once, by all of them.
    """
    places = [(prompt, 0) for prompt in prompts]
    missing = round.prompts - len(places)
    places += [(filler, group * round.samples) for group in range(1, missing + 1)]
    return [
        Assignment(prompt, task, round.samples, first) for prompt, first in places for task in tasks
    ]


def _ranked(values: Sequence[float]) -> list[int]:
    """Positions from the highest value to the lowest; among equals the newest first."""
    return sorted(range(len(values)), key=lambda i: (-values[i], -i))


def _ucb_scores(window: Window, ucb_lambda: float) -> list[float]:
    return [ucb_score(m.rating, ucb_lambda) for m in window]


def _with_random(first: int, size: int, count: int, rng: np.random.Generator) -> list[int]:
    others = [i for i in range(size) if i != first]
    return [first, *(int(i) for i in rng.choice(others, count - 1, replace=False))]


def top_random(
    window: Window, count: int, ucb_lambda: float, rng: np.random.Generator
) -> list[int]:
    """The highest μ + λσ, the rest uniform: the rule of the experiments (E-SPL App. A.5)."""
    best = _ranked(_ucb_scores(window, ucb_lambda))[0]
    return _with_random(best, len(window), count, rng)


def newest_uniform(
    window: Window, count: int, ucb_lambda: float, rng: np.random.Generator
) -> list[int]:
    """The newest, the rest uniform: the released code's default, which ignores ratings."""
    return _with_random(len(window) - 1, len(window), count, rng)


def softmax(window: Window, count: int, ucb_lambda: float, rng: np.random.Generator) -> list[int]:
    """Sampled without replacement, p ∝ exp((μ + λσ) / T) (E-SPL Eq. 4).

    The paper does not state T; this is the released code's, max(1, highest score).
    """
    scores = np.array(_ucb_scores(window, ucb_lambda))
    # The maximum is subtracted so that exp cannot overflow; it cancels in the ratio.
    weights = np.exp((scores - scores.max()) / max(1.0, float(scores.max())))
    drawn = rng.choice(len(window), count, replace=False, p=weights / weights.sum())
    return [int(i) for i in drawn]


def ucb(window: Window, count: int, ucb_lambda: float, rng: np.random.Generator) -> list[int]:
    """The highest μ + λσ."""
    return _ranked(_ucb_scores(window, ucb_lambda))[:count]


def lucb(window: Window, count: int, ucb_lambda: float, rng: np.random.Generator) -> list[int]:
    """LUCB: the highest lower bound, against the highest upper bounds among the others."""
    leader = _ranked([lower_bound(m.rating) for m in window])[0]
    challengers = [i for i in _ranked(_ucb_scores(window, ucb_lambda)) if i != leader]
    return [leader, *challengers[: count - 1]]


def thompson(window: Window, count: int, ucb_lambda: float, rng: np.random.Generator) -> list[int]:
    """Thompson sampling: the highest of one draw each from N(μ, σ²). Not in the paper.

    λ plays no part: a draw explores by itself.
    """
    draws = [m.rating.mu + m.rating.sigma * float(rng.standard_normal()) for m in window]
    return _ranked(draws)[:count]


def niching(window: Window, count: int, ucb_lambda: float, rng: np.random.Generator) -> list[int]:
    """Fitness sharing: the highest score, then good prompts unlike those already chosen.

    A score's excess over the lowest one, plus 1, is divided by 1 plus the similarity to each chosen
    prompt (the share of common principles). E-SPL names niching as future work; the rule is ours.
    """
    scores = _ucb_scores(window, ucb_lambda)
    lowest, chosen = min(scores), list[int]()
    while len(chosen) < count:
        shared = [
            # Plus 1, so that the lowest score is worth more where nothing like it was chosen.
            (s - lowest + 1) / (1 + sum(similarity(window[i], window[j]) for j in chosen))
            for i, s in enumerate(scores)
        ]
        chosen.append(next(i for i in _ranked(shared) if i not in chosen))
    return chosen


def similarity(one: Member, other: Member) -> float:
    """Jaccard index of two prompts' principles, in [0, 1]; 1 where neither has any."""
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


def select_final(population: Population, rule: str) -> SystemPrompt:
    """The final prompt of a run, selected by ratings from training rollouts.

    "newest" is the released code's choice: a prompt that was never evaluated.
    """
    if rule == "newest":
        return population.newest.prompt
    value = lower_bound if rule == "lower_bound" else _mean
    # Only evaluated prompts: an inherited rating is no evidence, and crossover can narrow its σ
    # without a single episode.
    evaluated = [m for m in population if m.evaluations] or list(population)
    # Ties: the smaller σ, then the older prompt.
    return max(evaluated, key=lambda m: (value(m.rating), -m.rating.sigma, -m.generation)).prompt


def _mean(rating: Rating) -> float:
    return rating.mu
