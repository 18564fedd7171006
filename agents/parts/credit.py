"""Who deserves how much: rewards become advantages. Pure; knows no tokens and no model."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from harness.rollouts import Group, Rollouts
from harness.types import Episode

Baseline = Literal["prompt", "problem"]

STD_FLOOR = 1e-4
"""Added to the standard deviation, as TRL's GRPO does."""


def advantages(rewards: Sequence[float], normalise: bool = False) -> tuple[float, ...]:
    """How much better each reward is than the mean of them all (E-SPL Eq. 2–3: r − V).

    `normalise` divides by the sample standard deviation plus 1e-4 (GRPO). Equal rewards, and a
    single one, give exactly 0: nothing was compared.
    """
    # The mean of equal numbers may be off by a rounding error, which 1/std would make large.
    if len(rewards) < 2 or max(rewards) == min(rewards):
        return (0.0,) * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    scale = float(np.std(rewards, ddof=1)) + STD_FLOOR if normalise else 1.0
    return tuple((reward - mean) / scale for reward in rewards)


def credit(
    rollouts: Rollouts, baseline: Baseline, normalise: bool = False
) -> Iterator[tuple[Episode, float]]:
    """Each scored episode with its advantage, in the order played.

    "prompt" compares within each assignment (E-SPL Eq. 3), "problem" with everything played on the
    task, whatever the prompt. Unscored episodes are no part of a baseline and get no advantage.
    Episodes cut off by the token limit are kept: what they scored is what they earned.
    """
    for scope in _scopes(rollouts, baseline):
        scored = [episode for group in scope for episode in group.scored]
        yield from zip(scored, advantages([e.reward for e in scored], normalise), strict=True)


def _scopes(rollouts: Rollouts, baseline: Baseline) -> Iterator[Sequence[Group]]:
    if baseline == "prompt":
        yield from ((group,) for group in rollouts.groups)
    else:
        yield from (rollouts.on(task).groups for task in rollouts.tasks)
