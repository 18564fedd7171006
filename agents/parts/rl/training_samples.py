"""Turn episodes into training samples with advantages, and count the samples left out.

A sample without gradient never reaches the trainer, yet it counts in the mean of the loss (Eq. 3's
1/(NM)), unless the loss drops groups with equal rewards (DAPO's dynamic sampling). DAPO samples
further until a batch is full; here the episodes of a round are fixed, so the batch gets smaller
instead, and the report says by how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agents.parts.rl.advantages import env_reward, grouped_advantages, soft_overlong_penalty
from agents.parts.rl.losses import group_rules
from harness.errors import ModelError
from harness.policies.base import BatchSize, Sample, Sampling
from harness.round_data import Rollouts
from harness.types import Ending, Episode, Task, Tokens

if TYPE_CHECKING:
    from agents.parts.rl.config import WeightsConfig

TokenIds = tuple[int, ...]
PromptTokens = Mapping[Task, TokenIds]
"""The first prompt of a task, as tokens, that its completions are to be learned under."""


@dataclass(frozen=True, slots=True)
class TrainingSamples:
    """The samples to train on, the size of the samples without gradient, metrics for the report."""

    samples: Sequence[Sample]
    zero_advantage: BatchSize
    metrics: Mapping[str, float]


def training_samples(
    rollouts: Rollouts,
    config: WeightsConfig,
    sampling: Sampling,
    policy: str,
    prompts: PromptTokens,
) -> TrainingSamples:
    """The training samples of one round, from training tasks only.

    `policy` is its name, for the error where a completion has no tokens; `prompts` replaces the
    first prompt of a task.
    """
    compares, drops = group_rules(config.loss, config.advantage, config.zero_std_groups)
    trained: list[Sample] = []
    idle = idle_tokens = zero_std = masked_out = 0
    train_split = _train_split(rollouts)
    punish = config.overlong == "punish"
    groups = grouped_advantages(
        train_split,
        config.baseline,
        normalise=compares == "normalised",
        leave_one_out=compares == "leave_one_out",
        reward=soft_overlong_penalty(sampling.max_tokens) if punish else env_reward,
    )
    if not config.renormalise:  # log π over the whole vocabulary is the one with top_p = 1
        sampling = replace(sampling, top_p=1.0)
    for group in groups:
        equal_rewards = all(advantage == 0 for _, advantage in group)
        zero_std += equal_rewards and bool(group)
        if equal_rewards and drops:
            continue
        for episode, advantage in group:
            samples = list(_samples(episode, advantage, sampling, policy, prompts))
            masked = config.overlong == "mask" and episode.ending is Ending.OVERLONG
            masked_out += len(samples) if masked else 0
            # Without an advantage there is no gradient, unless a KL term gives one.
            useful = [s for s in samples if s.sampled and (s.advantage != 0 or config.kl)]
            useful = [] if masked else useful
            trained += useful
            idle += len(samples) - len(useful)
            if not masked:  # as TRL's mask: such a sequence counts in means, its tokens do not
                idle_tokens += sum(len(s.sampled) for s in samples)
                idle_tokens -= sum(len(s.sampled) for s in useful)
    metrics = {  # keys of rounds.jsonl; idle: no gradient, constant: equal rewards
        "idle_sequences": float(idle),
        "constant_groups": float(zero_std),
        "masked_sequences": float(masked_out),
        "unscored_episodes": float(sum(not e.scored for e in train_split)),
    }
    return TrainingSamples(trained, BatchSize(idle, idle_tokens), metrics)


def _train_split(rollouts: Rollouts) -> Rollouts:
    """The groups on training tasks; validation tasks are evidence for selection alone."""
    groups = (g for g in rollouts.groups if g.assignment.task.split == "train")
    return Rollouts(rollouts.round, tuple(groups))


def _samples(
    episode: Episode, advantage: float, sampling: Sampling, policy: str, prompts: PromptTokens
) -> Iterator[Sample]:
    """One sample per turn, with the tokens as sampled; each has the episode's advantage.

    There is no reward per turn to assign: the environment scores the whole episode.
    """
    first: TokenIds | None = None
    for turn in episode.turns:
        tokens = turn.completion.tokens
        if tokens is None:
            raise ModelError(
                f"{policy} returned a completion without its tokens, so there is nothing to "
                "train on; use a policy that records them, as in --model hf:Qwen/Qwen3-4B."
            )
        first = tokens.prompt if first is None else first
        prompt = _replaced(tokens, first, prompts.get(episode.task))
        yield Sample(
            prompt, tokens.sampled, tokens.logprobs, advantage, sampling.temperature, sampling.top_p
        )


def _replaced(tokens: Tokens, first: TokenIds, new_first: TokenIds | None) -> TokenIds:
    """The prompt of a turn with its beginning, the first prompt of the episode, replaced."""
    if new_first is None:
        return tokens.prompt
    if tokens.prompt[: len(first)] != first:
        raise ModelError(
            "This model's chat template rewrites earlier turns, so a completion cannot be read "
            "under another prompt; choose a model whose template only appends, or another method."
        )
    return new_first + tokens.prompt[len(first) :]
