"""Finals: the best prompts play again on validation tasks, and nobody learns from it.

A rating is believed after rounds that also chose whom to rate; a champion chosen by it is luckier
than it is good. Every so many rounds the best by μ − 2σ meet on tasks that no prompt was written
from. Their episodes count in the budget like all others. Not in the paper.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from agents.parts.prompts.population import Population
from agents.parts.prompts.selection import lower
from harness.errors import UsageError
from harness.round_data import Rollouts, Round
from harness.types import JSON, Assignment, SystemPrompt, Task


class ValidationRounds:
    """Every `every`-th round is one; 0 has none. Remembers who got how much, over all finals."""

    def __init__(self, every: int, tasks: int) -> None:
        if every and not tasks:
            raise UsageError(
                "Finals are played on validation tasks, and none are known here; "
                "leave out method.finals, or choose a world that has a validation split."
            )
        self.every = every
        self.tasks = tasks
        self.earned: dict[str, tuple[float, int]] = {}

    def due(self, round: Round) -> bool:
        """Whether this round is a final."""
        return self.every > 0 and round.index % self.every == self.every - 1

    def cast(self, round: Round, population: Population) -> list[Assignment]:
        """The M best that have played, by μ − 2σ; the first fills places that are left."""
        proven = [m for m in population if m.played] or list(population)
        proven.sort(key=lambda m: (-lower(m.rating), m.born))
        players = [m.prompt for m in proven[: round.prompts]]
        free = round.prompts - len(players)
        seats = [(p, 0) for p in players]
        seats += [(players[0], i * round.samples) for i in range(1, free + 1)]
        return [
            Assignment(prompt, task, round.samples, first)
            for prompt, first in seats
            for task in self._tasks(round)
        ]

    def _tasks(self, round: Round) -> Sequence[Task]:
        """As many as the round has; the same one twice only where there are fewer."""
        count = min(len(round.tasks), self.tasks)
        drawn = round.rng("validation").choice(self.tasks, count, replace=False)
        return [Task("validation", int(i)) for i in drawn]

    def learn(self, rollouts: Rollouts) -> dict[str, float]:
        """Add up what was earned; each finalist's mean over all finals."""
        for prompt in rollouts.prompts:
            scored = [e.reward for e in rollouts.of(prompt) if e.scored]
            total, count = self.earned.get(prompt.id, (0.0, 0))
            self.earned[prompt.id] = (total + sum(scored), count + len(scored))
        return {f"final/{p.id}": self.mean(p.id) for p in rollouts.prompts}

    def mean(self, id: str) -> float:
        """What a finalist earned on average; NaN where nothing was scored."""
        total, count = self.earned.get(id, (0.0, 0))
        return total / count if count else float("nan")

    def champion(self, population: Population) -> SystemPrompt | None:
        """The best mean, by μ − 2σ among equals; None before the first final."""
        played = [m for m in population if self.earned.get(m.prompt.id, (0.0, 0))[1]]
        if not played:
            return None
        return max(played, key=lambda m: (self.mean(m.prompt.id), lower(m.rating))).prompt

    def to_json(self) -> dict[str, JSON]:
        """Sums and counts by prompt id."""
        return {id: [total, count] for id, (total, count) in self.earned.items()}

    def restore(self, record: Mapping[str, Any]) -> None:
        """Take back what `to_json` gave."""
        self.earned = {id: (float(total), int(count)) for id, (total, count) in record.items()}
