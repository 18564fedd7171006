"""From episodes to what a trainer takes: samples with advantages, and the count of all the others.

What carries no gradient never reaches the trainer, yet it counts in the loss's mean, unless the
loss leaves groups without spread out (DAPO's dynamic sampling). DAPO samples further until a batch
is full; here the round's episodes are fixed, so the batch is smaller instead, and the report says
by how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agents.parts.rl.advantages import compared, earned, punished
from agents.parts.rl.losses import LOSSES
from harness.errors import ModelError
from harness.policies.base import BatchSize, Sample, Sampling
from harness.round_data import Rollouts
from harness.types import Ending, Episode, Task, Tokens

if TYPE_CHECKING:
    from agents.parts.rl.config import WeightsConfig

Ids = tuple[int, ...]
Contexts = Mapping[Task, Ids]
"""The first prompt of a task, as tokens, that its replies are to be learnt under."""


@dataclass(frozen=True, slots=True)
class TrainingSamples:
    """Samples to train on; the size of what counts besides; numbers for the report."""

    taught: Sequence[Sample]
    idle: BatchSize
    numbers: Mapping[str, float]


def training_samples(
    rollouts: Rollouts, config: WeightsConfig, acting: Sampling, policy: str, contexts: Contexts
) -> TrainingSamples:
    """What one round teaches; only training tasks do. `policy` is named where tokens are missing.

    Without an advantage there is no gradient, unless a KL term gives one.
    """
    recipe = LOSSES[config.loss]
    compares = recipe.compares if config.advantage == "own" else config.advantage
    drops = config.constant == "drop" or (config.constant == "own" and recipe.drops)
    taught: list[Sample] = []
    idle = tokens = constant = cut = 0
    trained = Rollouts(
        rollouts.round, tuple(g for g in rollouts.groups if g.assignment.task.split == "train")
    )
    scopes = compared(
        trained,
        config.baseline,
        normalise=compares == "normalised",
        leave_one_out=compares == "leave_one_out",
        worth=punished(acting.max_tokens) if config.overlong == "punish" else earned,
    )
    for scope in scopes:
        same = all(advantage == 0 for _, advantage in scope)
        constant += same and bool(scope)
        if same and drops:
            continue
        for episode, advantage in scope:
            samples = list(_samples(episode, advantage, acting, policy, contexts))
            if not config.renormalise:
                samples = [replace(s, top_p=1.0) for s in samples]
            masked = config.overlong == "mask" and episode.ending is Ending.OVERLONG
            cut += len(samples) if masked else 0
            said = [s for s in samples if s.sampled and (s.advantage != 0 or config.kl)]
            said = [] if masked else said
            taught += said
            idle += len(samples) - len(said)
            if not masked:  # TRL's mask: such a sequence counts, its tokens do not
                tokens += sum(len(s.sampled) for s in samples) - sum(len(s.sampled) for s in said)
    numbers = {
        "idle_sequences": float(idle),
        "constant_groups": float(constant),
        "masked_sequences": float(cut),
        "unscored_episodes": float(sum(not e.scored for e in trained)),
    }
    return TrainingSamples(taught, BatchSize(idle, tokens), numbers)


def _samples(
    episode: Episode, advantage: float, acting: Sampling, policy: str, contexts: Contexts
) -> Iterator[Sample]:
    """One sample a turn, as the sampler saw it; every turn carries the episode's advantage."""
    first: Ids | None = None
    for turn in episode.turns:
        tokens = turn.completion.tokens
        if tokens is None:
            raise ModelError(
                f"{policy} gave a reply without its tokens, so there is nothing to "
                "train on; use a policy that records them, as in --model hf:Qwen/Qwen3-4B."
            )
        first = tokens.prompt if first is None else first
        prompt = _elsewhere(tokens, first, contexts.get(episode.task))
        yield Sample(
            prompt, tokens.sampled, tokens.logprobs, advantage, acting.temperature, acting.top_p
        )


def _elsewhere(tokens: Tokens, first: Ids, context: Ids | None) -> Ids:
    """The turn's prompt with its beginning, the episode's first prompt, exchanged."""
    if context is None:
        return tokens.prompt
    if tokens.prompt[: len(first)] != first:
        raise ModelError(
            "This model's chat template rewrites earlier turns, so a reply cannot be read under "
            "another prompt; choose a model whose template only appends, or another method."
        )
    return context + tokens.prompt[len(first) :]
