"""E-SPL (Zhang, Chen, Stadie, arXiv 2602.14697): weights and system prompt learn together."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from agents.context import MethodContext, MethodSpec
from agents.evolution import Evolution
from agents.parts.prompts.config import EvolutionConfig
from agents.parts.rl.config import WeightsConfig
from agents.parts.rl.loss_card import card
from agents.rl import RL
from harness.round_data import Rollouts, Round
from harness.settings.build import settings
from harness.types import JSON, Agent, Assignment, Report


@settings
class ESPLConfig(EvolutionConfig, WeightsConfig):
    """The settings of both halves."""

    def __post_init__(self) -> None:
        EvolutionConfig.__post_init__(self)
        WeightsConfig.__post_init__(self)


class ESPL:
    """Reinforcement learning and prompt evolution on the same rollouts (E-SPL §3, Alg. 1).

    Declarative knowledge (principles, workflows, warnings) goes into the prompt; procedural
    knowledge (what takes practice) goes into the weights. Each round is one fair tournament: M
    prompts attempt the same tasks under the same weights (while there are fewer than M, the newest
    takes several places). Evolution ranks the prompts by it and reflects on the best one's
    episodes. RL compares each completion with the mean of its own group, so that a good prompt is
    not mistaken for a good completion. Both learn from the same episodes, except that RL learns
    nothing from validation rounds.
    """

    def __init__(self, config: ESPLConfig, context: MethodContext) -> None:
        self.evolution = Evolution(config, context)
        self.rl = RL(config, context)
        self.reflects_concurrently = context.can_reflect_concurrently

    def assign(self, round: Round) -> list[Assignment]:
        """M prompts on B tasks, N samples each, as evolution selects them."""
        return self.evolution.assign(round)

    def learn(self, rollouts: Rollouts) -> Report:
        """Evolve the prompts and take one gradient step, both from these rollouts."""
        if self.reflects_concurrently:
            with ThreadPoolExecutor(max_workers=1) as executor:
                evolving = executor.submit(self.evolution.learn, rollouts)
                weights = self.rl.learn(rollouts)
                return evolving.result() | weights
        # Prompts first: a reflection model that is the policy itself then has the weights that
        # produced these rollouts.
        prompts = self.evolution.learn(rollouts)
        weights = self.rl.learn(rollouts)
        return prompts | weights

    def final_agent(self) -> Agent:
        """The best prompt by its rating, with the trained weights."""
        return self.evolution.final_agent()

    def state(self) -> Mapping[str, JSON]:
        """The population; the policy saves the weights itself."""
        return self.evolution.state()

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Restore the population."""
        self.evolution.restore(state)


SPEC = MethodSpec(ESPLConfig, ESPL, trains=True, card=card)
