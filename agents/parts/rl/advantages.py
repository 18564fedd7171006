"""Who deserves how much: rewards become advantages. Pure; knows no tokens and no model."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from harness.round_data import Group, Rollouts
from harness.types import Ending, Episode

Baseline = Literal["prompt", "problem"]
Comparison = Literal["mean", "normalised", "leave_one_out"]
Overlong = Literal["keep", "mask", "punish"]
Worth = Callable[[Episode], float]

STD_FLOOR = 1e-4
"""Added to the standard deviation, as TRL's GRPO does."""
BUFFER = 0.2
"""The last share of the token limit, in which DAPO's punishment grows (4,096 of its 20,480)."""


def advantages(
    rewards: Sequence[float], normalise: bool = False, leave_one_out: bool = False
) -> tuple[float, ...]:
    """How much better each reward is than the mean of them all (E-SPL Eq. 2–3: r − V).

    `normalise` divides by the sample standard deviation plus 1e-4 (GRPO). `leave_one_out` compares
    with the mean of the others (RLOO), which is n/(n − 1) times as much. Equal rewards, and a
    single one, give exactly 0: nothing was compared.
    """
    # The mean of equal numbers may be off by a rounding error, which 1/std would make large.
    if len(rewards) < 2 or max(rewards) == min(rewards):
        return (0.0,) * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    scale = float(np.std(rewards, ddof=1)) + STD_FLOOR if normalise else 1.0
    if leave_one_out:
        scale *= (len(rewards) - 1) / len(rewards)
    return tuple((reward - mean) / scale for reward in rewards)


def earned(episode: Episode) -> float:
    """What the world gave."""
    return episode.reward


def punished(limit: int) -> Worth:
    """What the world gave, less for a last reply that comes near the token limit (DAPO §3.4).

    Nothing up to 80 % of `limit`, then evenly down to −1 at the limit; a reply cut off before it,
    by the model's context, loses 1 as well.
    """
    buffer = max(1.0, BUFFER * limit)

    def worth(episode: Episode) -> float:
        length = episode.turns[-1].completion.sampled if episode.turns else 0
        over = (length - (limit - buffer)) / buffer
        if episode.ending is Ending.OVERLONG:
            over = 1.0
        return episode.reward - min(1.0, max(0.0, over))

    return worth


def credit(
    rollouts: Rollouts,
    baseline: Baseline,
    normalise: bool = False,
    leave_one_out: bool = False,
    worth: Worth = earned,
) -> Iterator[tuple[Episode, float]]:
    """Each scored episode with its advantage, in the order played.

    "prompt" compares within each assignment (E-SPL Eq. 3), "problem" with everything played on the
    task, whatever the prompt. Unscored episodes are no part of a baseline and get no advantage.
    Episodes cut off by the token limit are kept: what they scored is what they earned.
    """
    for scope in compared(rollouts, baseline, normalise, leave_one_out, worth):
        yield from scope


def compared(
    rollouts: Rollouts,
    baseline: Baseline,
    normalise: bool = False,
    leave_one_out: bool = False,
    worth: Worth = earned,
) -> Iterator[list[tuple[Episode, float]]]:
    """The same, one list for all that was compared with each other."""
    for scope in _scopes(rollouts, baseline):
        scored = [episode for group in scope for episode in group.scored]
        rewards = [worth(episode) for episode in scored]
        yield list(zip(scored, advantages(rewards, normalise, leave_one_out), strict=True))


def _scopes(rollouts: Rollouts, baseline: Baseline) -> Iterator[Sequence[Group]]:
    if baseline == "prompt":
        yield from ((group,) for group in rollouts.groups)
    else:
        yield from (rollouts.on(task).groups for task in rollouts.tasks)
