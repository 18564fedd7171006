"""No learning: the yardstick the other methods are measured against."""

from collections.abc import Mapping
from dataclasses import dataclass

from agents.context import MethodContext, MethodSpec
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report


@dataclass(frozen=True)
class BaseConfig:
    """Nothing to choose."""


class Base:
    """No learning: the root prompt and the model's own weights, as they are."""

    def __init__(self, config: BaseConfig, inputs: MethodContext) -> None:
        self.root = inputs.root
        self.policy = inputs.policy

    def cast(self, round: Round) -> list[Assignment]:
        """Nobody plays: there is nothing to learn from it."""
        return []

    def learn(self, rollouts: Rollouts) -> Report:
        """Nothing is learnt."""
        return Report()

    def champion(self) -> Agent:
        """The root prompt."""
        return Agent(self.root, self.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """Nothing to remember."""
        return {}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Nothing to take back."""


SPEC = MethodSpec(BaseConfig, Base, trains=False, plays=False)
