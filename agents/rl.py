"""Reinforcement learning: what must be practised goes into the weights (E-SPL §3, Eq. 3)."""

from collections.abc import Mapping

from agents.context import MethodContext, MethodSpec
from agents.parts.rl.config import RLConfig, WeightsConfig
from agents.parts.rl.loss_card import card, configured
from agents.parts.rl.training_samples import Contexts, training_samples
from harness.errors import UsageError
from harness.policies.base import Step
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report


class RL:
    """Reinforcement learning of the weights under the root prompt."""

    def __init__(self, config: WeightsConfig, inputs: MethodContext) -> None:
        self.config = config
        self.root = inputs.root
        self.policy = inputs.trainable("rl")
        self.acting = inputs.acting
        self.groups = config.groups if isinstance(config, RLConfig) else "whole"
        if config.kl and config.renormalise and inputs.acting.top_p < 1:
            raise UsageError(
                "With sampling.top_p < 1 the start model may not draw what the policy drew, and "
                "their KL has no value; set sampling.top_p=1, method.kl=0 or "
                "method.renormalise=false."
            )

    def cast(self, round: Round) -> list[Assignment]:
        """The root prompt plays all of the round's episodes, so that budgets are equal."""
        parts = 1 if self.groups == "whole" else round.prompts
        size = round.prompts * round.samples // parts
        return [
            Assignment(self.root, task, size, first=part * size)
            for task in round.tasks
            for part in range(parts)
        ]

    def learn(self, rollouts: Rollouts, contexts: Contexts | None = None) -> Report:
        """One gradient step: replies better than their group's mean become more likely.

        `contexts` are prompts, as tokens by task, to learn replies under instead of those that
        they were given under (context distillation).
        """
        config = self.config
        learnt = training_samples(rollouts, config, self.acting, self.policy.name, contexts or {})
        if not learnt.taught:
            line = "No group's rewards differed, so the weights stay as they are."
            return Report({**learnt.numbers, "sequences": 0.0}, (line,))
        loss = configured(config, self.acting.max_tokens, learnt.idle)
        step = Step(
            config.learning_rate, config.beta1, config.beta2, config.max_grad_norm, config.kl > 0
        )
        told = self.policy.update(learnt.taught, loss, step)
        return Report({**learnt.numbers, **told}, _agreement(config, told))

    def champion(self) -> Agent:
        """The root prompt with the weights as they are now."""
        return Agent(self.root, self.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """Nothing besides the weights, which the policy saves itself."""
        return {}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Nothing to take back."""


def _agreement(config: WeightsConfig, told: Mapping[str, float]) -> tuple[str, ...]:
    """How far sampler and trainer are apart, where that is being corrected."""
    if config.correction == "bypass" or "logprob_gap" not in told:
        return ()
    return (
        f"sampler and trainer differ by {told['logprob_gap']:.2g} a token, largest ratio "
        f"{told['ratio_max']:.3g} (corrected by {config.correction})",
    )


SPEC = MethodSpec(RLConfig, RL, trains=True, card=card)
