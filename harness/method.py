"""What a method is: it says who plays next, and what was learnt."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report


class Method(Protocol):
    """A way of improving an agent."""

    def cast(self, round: Round) -> list[Assignment]:
        """Who plays next."""
        ...

    def learn(self, rollouts: Rollouts) -> Report:
        """What did we learn?"""
        ...

    def champion(self) -> Agent:
        """The agent to hand in, chosen on training evidence only."""
        ...

    def state(self) -> Mapping[str, JSON]:
        """All that must be remembered besides the weights."""
        ...

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Take back what `state` gave."""
        ...


@runtime_checkable
class ReflectsConcurrently(Protocol):
    """A method that may call the reflection model while the gradient step is taken."""

    @property
    def side_by_side(self) -> bool:
        """True where it does so with the models that it was given."""
        ...
