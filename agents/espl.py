"""E-SPL (Zhang, Chen, Stadie, arXiv 2602.14697): weights and prompt learn together."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from agents.context import MethodContext, MethodSpec
from agents.evolution import Evolution, EvolutionConfig
from agents.parts.rl.config import WeightsConfig
from agents.parts.rl.loss_card import card
from agents.rl import RL
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report


@dataclass(frozen=True)
class ESPLConfig(EvolutionConfig, WeightsConfig):
    """The settings of both halves."""

    def __post_init__(self) -> None:
        EvolutionConfig.__post_init__(self)
        WeightsConfig.__post_init__(self)


class ESPL:
    """Reinforcement learning and prompt evolution, fed by the same rollouts.

    What can be told goes into the system prompt: principles, workflows, warnings. What must be
    practised goes into the weights. Each round is one tournament: M prompts play the same problems
    under the same weights. Evolution rates the prompts by it and reflects on what the best one did;
    RL compares each reply with its own prompt's mean, so a prompt's merit is never mistaken for a
    reply's. Neither half asks for an episode of its own (E-SPL §3, Alg. 1).
    """

    def __init__(self, config: ESPLConfig, inputs: MethodContext) -> None:
        self.rl = RL(config, inputs)
        self.evolution = Evolution(config, inputs)
        self.side_by_side = inputs.reflector_is_separate

    def cast(self, round: Round) -> list[Assignment]:
        """Evolution chooses who plays."""
        return self.evolution.cast(round)

    def learn(self, rollouts: Rollouts) -> Report:
        """Both halves learn from the same evidence."""
        if self.side_by_side:
            with ThreadPoolExecutor(max_workers=1) as aside:
                telling = aside.submit(self.evolution.learn, rollouts)
                shown = self.rl.learn(rollouts)
                return telling.result() | shown
        told = self.evolution.learn(rollouts)  # first: a live reflector is then the one that played
        shown = self.rl.learn(rollouts)
        return told | shown

    def champion(self) -> Agent:
        """The best prompt by the ratings, with the weights as they are now."""
        return self.evolution.champion()

    def state(self) -> Mapping[str, JSON]:
        """The population; the policy saves the weights."""
        return self.evolution.state()

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Take the population back."""
        self.evolution.restore(state)


SPEC = MethodSpec(ESPLConfig, ESPL, trains=True, card=card)
