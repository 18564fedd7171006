"""Replay buffer of groups to reflect on later; those with more failures are kept longer."""

from collections.abc import Sequence
from typing import Any

from agents.parts.prompts.population import prompt_from_json
from agents.parts.prompts.serialization import (
    episode_from_record,
    episode_record,
    prompt_record,
    task_from_text,
)
from harness.round_data import Group, Rollouts, Round
from harness.types import JSON, Assignment


class ReplayBuffer:
    """At most `capacity` groups, the newest first among equal failure rates.

    A group with equal rewards has nothing for a reflection to compare, and is not added.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.groups: list[Group] = []

    def add(self, rollouts: Rollouts) -> None:
        """Add a round's groups; drop those with the fewest failures first, then the oldest."""
        mixed = [g for g in rollouts.groups if len({e.reward for e in g.scored}) > 1]
        groups = [*reversed(mixed), *self.groups]
        groups.sort(key=_failure_rate, reverse=True)  # stable: the newest stay in front
        self.groups = groups[: self.capacity]

    def rollouts(self, round: Round) -> Rollouts:
        """The groups as the rollouts of this round."""
        return Rollouts(round, tuple(self.groups))

    def to_json(self) -> list[JSON]:
        """One record per group."""
        return [
            {
                "prompt": prompt_record(g.assignment.prompt),
                "task": str(g.assignment.task),
                "first": g.assignment.first,
                "episodes": [episode_record(e) for e in g.scored],
            }
            for g in self.groups
        ]

    def restore(self, records: Sequence[Any]) -> None:
        """Restore what `to_json` returned."""
        self.groups = [_group(record) for record in records]


def _failure_rate(group: Group) -> float:
    return sum(not e.success for e in group.scored) / len(group.scored)


def _group(record: Any) -> Group:
    episodes = tuple(episode_from_record(e) for e in record["episodes"])
    assignment = Assignment(
        prompt_from_json(record["prompt"]),
        task_from_text(record["task"]),
        len(episodes),
        record["first"],
    )
    return Group(assignment, episodes)
