"""Reinforcement learning: what must be practised goes into the weights (E-SPL §3, Eq. 3)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from agents.checks import one_of, within
from agents.inputs import Inputs, Spec
from agents.parts import losses
from agents.parts.credit import Baseline, credit
from harness.errors import ModelError
from harness.policies.base import BatchSize, Sample, Step
from harness.rollouts import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Episode, Report

Groups = Literal["whole", "split"]


@dataclass(frozen=True)
class WeightsConfig:
    """How rewards become one gradient step; shared by every method that trains weights."""

    loss: losses.LossName = "importance_sampling"
    """The released code's default; the paper also benchmarks GRPO and CISPO (E-SPL §4.1)."""
    baseline: Baseline = "prompt"
    """What a reward is compared with: its own group (E-SPL Eq. 3), or all on the problem."""
    learning_rate: float = 4e-5
    """Adam's step (E-SPL App. A.5)."""
    beta1: float = 0.9
    """Adam (E-SPL App. A.5)."""
    beta2: float = 0.95
    """Adam (E-SPL App. A.5)."""
    max_grad_norm: float = 1.0
    """Longer gradients are shortened to this. Not in the paper."""
    clip_low: float | None = None
    """Smallest ratio the loss lets through; unset: 0.8 for grpo, dr_grpo and ppo, 0 for cispo."""
    clip_high: float | None = None
    """Largest ratio the loss lets through; unset: 1.2 for grpo, dr_grpo and ppo, 4 for cispo."""
    kl: float = 0.0
    """β of Eq. 3: how strongly the weights are held to the start; 0 with LoRA (E-SPL §3)."""

    def __post_init__(self) -> None:
        one_of("loss", self.loss, losses.LOSSES)
        one_of("baseline", self.baseline, get_args(Baseline))
        within("learning_rate", self.learning_rate, 0)
        within("beta1", self.beta1, 0, 0.9999)
        within("beta2", self.beta2, 0, 0.99999)
        within("max_grad_norm", self.max_grad_norm, 1e-6)
        within("kl", self.kl, 0)
        losses.bounds(self.loss, self.clip_low, self.clip_high)


@dataclass(frozen=True)
class RLConfig(WeightsConfig):
    """Settings of RL alone."""

    groups: Groups = "whole"
    """One group of M·N a task, or M groups of N as the released code plays it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("groups", self.groups, get_args(Groups))


class RL:
    """Reinforcement learning of the weights under the root prompt."""

    def __init__(self, config: WeightsConfig, inputs: Inputs) -> None:
        self.config = config
        self.root = inputs.root
        self.policy = inputs.trainable("rl")
        self.acting = inputs.acting
        self.groups = config.groups if isinstance(config, RLConfig) else "whole"

    def cast(self, round: Round) -> list[Assignment]:
        """The root prompt plays all of the round's episodes, so that budgets are equal."""
        parts = 1 if self.groups == "whole" else round.prompts
        size = round.prompts * round.samples // parts
        return [
            Assignment(self.root, task, size, first=part * size)
            for task in round.tasks
            for part in range(parts)
        ]

    def learn(self, rollouts: Rollouts) -> Report:
        """One gradient step: replies better than their group's mean become more likely."""
        config = self.config
        credited = credit(rollouts, config.baseline, normalise=config.loss == "grpo")
        samples = [s for episode, worth in credited for s in self.samples(episode, worth)]
        # Without an advantage there is no gradient, unless a KL term gives one.
        taught = [s for s in samples if s.sampled and (s.advantage != 0 or config.kl)]
        numbers = {
            "idle_sequences": float(len(samples) - len(taught)),
            "unscored_episodes": float(sum(not e.scored for e in rollouts)),
        }
        if not taught:
            line = "No group's rewards differed, so the weights stay as they are."
            return Report({**numbers, "sequences": 0.0}, (line,))
        loss = losses.build(
            config.loss,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            kl=config.kl,
            max_tokens=self.acting.max_tokens,
            idle=BatchSize(
                sequences=len(samples) - len(taught),
                tokens=sum(len(s.sampled) for s in samples) - sum(len(s.sampled) for s in taught),
            ),
        )
        step = Step(
            config.learning_rate, config.beta1, config.beta2, config.max_grad_norm, config.kl > 0
        )
        return Report({**numbers, **self.policy.update(taught, loss, step)})

    def samples(self, episode: Episode, advantage: float) -> Iterator[Sample]:
        """One sample a turn, as the sampler saw it; every turn carries the episode's advantage."""
        for turn in episode.turns:
            tokens = turn.completion.tokens
            if tokens is None:
                raise ModelError(
                    f"{self.policy.name} gave a reply without its tokens, so there is nothing to "
                    "train on; use a policy that records them, as in --model hf:Qwen/Qwen3-4B."
                )
            yield Sample(
                tokens.prompt, tokens.sampled, tokens.logprobs, advantage, self.acting.temperature
            )

    def champion(self) -> Agent:
        """The root prompt with the weights as they are now."""
        return Agent(self.root, self.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """Nothing besides the weights, which the policy saves itself."""
        return {}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Nothing to take back."""


SPEC = Spec(RLConfig, RL, trains=True)
