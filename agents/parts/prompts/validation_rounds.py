"""Validation rounds: the best prompts are compared again on validation tasks; none is changed.

A rating comes from rounds that also decided which prompts to rate, so the highest one is partly
luck (selection bias). Every so many rounds the best prompts by μ − 2σ meet on tasks that no prompt
was written from. Their episodes count in the budget like all others. Not in the paper.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from agents.parts.prompts.population import Population
from agents.parts.prompts.selection import lower_bound, tournament
from harness.errors import UsageError
from harness.round_data import Rollouts, Round
from harness.types import JSON, Assignment, SystemPrompt, Task


class ValidationRounds:
    """Rewards by prompt over all validation rounds; every `interval`-th round is one, 0 for none.

    Raises:
        UsageError: There are no validation tasks to use.
    """

    def __init__(self, interval: int, tasks: int) -> None:
        if interval and not tasks:
            raise UsageError(
                "Validation rounds need validation tasks, and this environment has none; leave "
                "out method.revalidation, or choose an environment with a validation split."
            )
        self.interval = interval
        self.tasks = tasks
        # Sums over all rounds: a prompt that returns is judged by all of its evidence.
        self.rewards: dict[str, tuple[float, int]] = {}  # prompt id: (sum, count)

    def due(self, round: Round) -> bool:
        """True if this is a validation round."""
        return self.interval > 0 and round.index % self.interval == self.interval - 1

    def assign(self, round: Round, population: Population) -> list[Assignment]:
        """The M best evaluated prompts by μ − 2σ; the first takes the places that are left."""
        evaluated = [m for m in population if m.evaluations] or list(population)
        evaluated.sort(key=lambda m: (-lower_bound(m.rating), m.generation))
        prompts = [m.prompt for m in evaluated[: round.prompts]]
        return tournament(prompts, prompts[0], self._tasks(round), round)

    def _tasks(self, round: Round) -> Sequence[Task]:
        """Different validation tasks, as many as the round has, or as many as there are."""
        count = min(len(round.tasks), self.tasks)
        drawn = round.rng("validation").choice(self.tasks, count, replace=False)
        return [Task("validation", int(i)) for i in drawn]

    def learn(self, rollouts: Rollouts) -> dict[str, float]:
        """Add this round's rewards; returns each prompt's mean over all validation rounds."""
        for prompt in rollouts.prompts:
            scored = [e.reward for e in rollouts.of(prompt) if e.scored]
            total, count = self.rewards.get(prompt.id, (0.0, 0))
            self.rewards[prompt.id] = (total + sum(scored), count + len(scored))
        return {f"final/{p.id}": self.mean(p.id) for p in rollouts.prompts}

    def mean(self, id: str) -> float:
        """A prompt's mean validation reward; NaN where nothing was scored."""
        total, count = self.rewards.get(id, (0.0, 0))
        return total / count if count else float("nan")

    def best(self, population: Population) -> SystemPrompt | None:
        """The member with the best mean, by μ − 2σ among equals; None before the first round."""
        validated = [m for m in population if self.rewards.get(m.prompt.id, (0.0, 0))[1]]
        if not validated:
            return None
        return max(validated, key=lambda m: (self.mean(m.prompt.id), lower_bound(m.rating))).prompt

    def to_json(self) -> dict[str, JSON]:
        """Sum and count of rewards by prompt id."""
        return {id: [total, count] for id, (total, count) in self.rewards.items()}

    def restore(self, record: Any) -> None:
        """Restore what `to_json` returned; checkpoints of older versions have none."""
        found: Mapping[str, Any] = record if isinstance(record, Mapping) else {}
        self.rewards = {id: (float(total), int(count)) for id, (total, count) in found.items()}
