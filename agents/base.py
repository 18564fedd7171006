"""No training: the baseline of every comparison."""

from collections.abc import Mapping

from agents.context import MethodContext, MethodSpec
from harness.round_data import Rollouts, Round
from harness.settings.build import Settings, settings
from harness.types import JSON, Agent, Assignment, Report


@settings
class BaseConfig(Settings):
    """Nothing to choose."""


class Base:
    """No training: the initial prompt and the initial weights."""

    def __init__(self, config: BaseConfig, context: MethodContext) -> None:
        self.prompt = context.initial_prompt
        self.policy = context.policy

    def assign(self, round: Round) -> list[Assignment]:
        """No rollouts: nothing would be learned from them."""
        return []

    def learn(self, rollouts: Rollouts) -> Report:
        """Learn nothing."""
        return Report()

    def final_agent(self) -> Agent:
        """The initial prompt with the initial weights."""
        return Agent(self.prompt, self.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """No state."""
        return {}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Nothing to restore."""


SPEC = MethodSpec(BaseConfig, Base, trains=False, plays=False)
