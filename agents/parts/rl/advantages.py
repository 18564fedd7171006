"""Advantages: rewards compared with a baseline. Pure; knows no tokens and no model."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from harness.round_data import Group, Rollouts
from harness.types import Ending, Episode

Baseline = Literal["prompt", "problem"]
Comparison = Literal["mean", "normalised", "leave_one_out"]
Overlong = Literal["keep", "mask", "punish"]
RewardFunction = Callable[[Episode], float]

STD_FLOOR = 1e-4
"""Added to the standard deviation, as TRL's GRPO does."""
OVERLONG_BUFFER = 0.2
"""The last share of the token limit, in which DAPO's penalty grows (4,096 of its 20,480)."""


def advantages(
    rewards: Sequence[float], normalise: bool = False, leave_one_out: bool = False
) -> tuple[float, ...]:
    """Each reward less the mean of them all (E-SPL Eq. 2–3: r − V).

    `normalise` divides by the sample standard deviation plus 1e-4 (GRPO). `leave_one_out` subtracts
    the mean of the others instead (RLOO). Equal rewards, and a single one, give exactly 0: there is
    nothing to compare.
    """
    # Tested on the rewards: the mean of equal numbers may be off by a rounding error, and dividing
    # by a tiny standard deviation would turn that error into a large advantage.
    if len(rewards) < 2 or max(rewards) == min(rewards):
        return (0.0,) * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    scale = float(np.std(rewards, ddof=1)) + STD_FLOOR if normalise else 1.0
    if leave_one_out:
        # r − mean of the others = (r − mean) · n/(n − 1)
        scale *= (len(rewards) - 1) / len(rewards)
    return tuple((reward - mean) / scale for reward in rewards)


def env_reward(episode: Episode) -> float:
    """The reward of the environment, unchanged."""
    return episode.reward


def soft_overlong_penalty(max_tokens: int) -> RewardFunction:
    """The reward less a penalty for a last completion close to the token limit (DAPO §3.4).

    The penalty is 0 up to 80 % of `max_tokens` and grows linearly to 1 at the limit.
    """
    buffer = max(1.0, OVERLONG_BUFFER * max_tokens)

    def shaped(episode: Episode) -> float:
        length = episode.turns[-1].completion.sampled if episode.turns else 0
        over = (length - (max_tokens - buffer)) / buffer
        # The model's context may cut a completion off before the limit; that costs 1 as well.
        if episode.ending is Ending.OVERLONG:
            over = 1.0
        return episode.reward - min(1.0, max(0.0, over))

    return shaped


def episode_advantages(
    rollouts: Rollouts,
    baseline: Baseline,
    normalise: bool = False,
    leave_one_out: bool = False,
    reward: RewardFunction = env_reward,
) -> Iterator[tuple[Episode, float]]:
    """Each scored episode with its advantage, in rollout order; see `grouped_advantages`."""
    for group in grouped_advantages(rollouts, baseline, normalise, leave_one_out, reward):
        yield from group


def grouped_advantages(
    rollouts: Rollouts,
    baseline: Baseline,
    normalise: bool = False,
    leave_one_out: bool = False,
    reward: RewardFunction = env_reward,
) -> Iterator[list[tuple[Episode, float]]]:
    """Scored episodes with their advantages, one list per set that shares a baseline.

    "prompt" compares the episodes of one assignment (E-SPL Eq. 3), "problem" all episodes of a
    task, whatever their prompt. Unscored episodes are no part of a baseline and get no advantage:
    they are no evidence, and counting them as 0 would punish the policy for a failed grader.
    Truncated episodes are kept with the reward they earned.
    """
    for groups in _comparisons(rollouts, baseline):
        scored = [episode for group in groups for episode in group.scored]
        rewards = [reward(episode) for episode in scored]
        yield list(zip(scored, advantages(rewards, normalise, leave_one_out), strict=True))


def _comparisons(rollouts: Rollouts, baseline: Baseline) -> Iterator[Sequence[Group]]:
    if baseline == "prompt":
        yield from ((group,) for group in rollouts.groups)
    else:
        yield from (rollouts.on(task).groups for task in rollouts.tasks)
