"""Reinforcement learning: what takes practice goes into the weights (E-SPL §3, Eq. 3)."""

from collections.abc import Mapping

from agents.context import MethodContext, MethodSpec
from agents.parts.rl import kl
from agents.parts.rl.config import RLConfig, WeightsConfig
from agents.parts.rl.importance_correction import handover_lines, mismatch_lines
from agents.parts.rl.loss_card import build_loss, card
from agents.parts.rl.training_samples import PromptTokens, training_samples
from harness.policies.base import Step
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report


class RL:
    """Reinforcement learning of the weights under the initial prompt."""

    def __init__(self, config: WeightsConfig, context: MethodContext) -> None:
        self.config = config
        self.prompt = context.initial_prompt
        self.policy = context.trainable("rl")
        self.sampling = context.rollout_sampling
        self.groups = config.groups if isinstance(config, RLConfig) else "whole"
        kl.require_support(config.kl, config.renormalise, self.sampling.top_p)

    def assign(self, round: Round) -> list[Assignment]:
        """One prompt for all of the round's M·N samples a task: the budget of every method.

        They form one group, or M groups of N ("split") as in the released code.
        """
        groups = 1 if self.groups == "whole" else round.prompts
        size = round.prompts * round.samples // groups
        return [
            Assignment(self.prompt, task, size, first=group * size)
            for task in round.tasks
            for group in range(groups)
        ]

    def learn(self, rollouts: Rollouts, prompts: PromptTokens | None = None) -> Report:
        """One step up the gradient of J(θ) (Eq. 3).

            J(θ, x) = 1/(NM) Σ_i Σ_j (r_ij − V_i) log π_θ(y_ij | s_i, x) − β KL(π_θ ‖ π_ref)

        for prompts i and samples j. `prompts` replaces the prompt s_i of a task, as tokens, that
        its completions are learned under (context distillation).
        """
        config = self.config
        # r_ij − V_i, the baseline V_i being the group's mean reward (Eq. 2). Completions without
        # an advantage and without a KL term are not trained on. They count in the 1/(NM), unless
        # the loss drops groups with equal rewards.
        batch = training_samples(rollouts, config, self.sampling, self.policy.name, prompts or {})
        if not batch.samples:
            return Report({**batch.metrics, "sequences": 0.0}, (_no_samples(batch.metrics),))
        loss = build_loss(config, self.sampling.max_tokens, batch.zero_advantage)
        step = Step(  # Adam; π_ref is evaluated only for β > 0, and LoRA uses β = 0 (§3)
            config.learning_rate, config.beta1, config.beta2, config.max_grad_norm, config.kl > 0
        )
        metrics = self.policy.update(batch.samples, loss, step)  # θ ← θ + α ∇J
        return Report(
            {**batch.metrics, **metrics},
            mismatch_lines(config.correction, metrics) + handover_lines(metrics),
        )

    def final_agent(self) -> Agent:
        """The initial prompt with the trained weights."""
        return Agent(self.prompt, self.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """Nothing: the policy saves the weights itself."""
        return {}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Nothing to restore."""


def _no_samples(metrics: Mapping[str, float]) -> str:
    """The report of a round without a training sample; a validation round counts 0 of each."""
    return (
        "No sample to train on, so the weights stay as they are (on training tasks: "
        f"{metrics['constant_groups']:.0f} groups with equal rewards, "
        f"{metrics['masked_sequences']:.0f} masked sequences, "
        f"{metrics['unscored_episodes']:.0f} unscored episodes)."
    )


SPEC = MethodSpec(RLConfig, RL, trains=True, card=card)
