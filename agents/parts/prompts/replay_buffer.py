"""A buffer of groups to reflect on later. Those with more failures stay longer; it is JSON-able."""

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
    """At most `room` groups, the newest first among those that failed alike.

    A group in which all attempts fared the same says nothing that a reflection could use, and is
    not kept.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.groups: list[Group] = []

    def keep(self, rollouts: Rollouts) -> None:
        """Add a round's groups; the ones with the fewest failures leave first, then the oldest."""
        told = [g for g in rollouts.groups if len({e.reward for e in g.scored}) > 1]
        everyone = [*reversed(told), *self.groups]
        everyone.sort(key=_failures, reverse=True)  # stable: the newest stay in front
        self.groups = everyone[: self.room]

    def rollouts(self, round: Round) -> Rollouts:
        """What is kept, as if it had been played in this round."""
        return Rollouts(round, tuple(self.groups))

    def to_json(self) -> list[JSON]:
        """One record a group."""
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
        """Take back what `to_json` gave."""
        self.groups = [_group(record) for record in records]


def _failures(group: Group) -> float:
    """The share of attempts without success."""
    return sum(not e.success for e in group.scored) / len(group.scored)


def _group(record: Any) -> Group:
    episodes = tuple(episode_from_record(e) for e in record["episodes"])
    cast = Assignment(
        prompt_from_json(record["prompt"]),
        task_from_text(record["task"]),
        len(episodes),
        record["first"],
    )
    return Group(cast, episodes)
