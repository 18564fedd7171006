"""The evidence of one round, as questions: who scored what, who won, who alone was best."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.seeds import Seeds
from harness.types import Assignment, Episode, SystemPrompt, Task


@dataclass(frozen=True, slots=True)
class Round:
    """One iteration: the same size for every method (B tasks × M prompts × N samples)."""

    index: int
    tasks: tuple[Task, ...]
    prompts: int
    samples: int
    seeds: Seeds

    def rng(self, name: str) -> np.random.Generator:
        """This round's generator of that name; it needs no storing, so resuming is exact."""
        return self.seeds.generator(name)


@dataclass(frozen=True, slots=True)
class Group:
    """The episodes of one assignment: the scope of a per-prompt baseline."""

    assignment: Assignment
    episodes: tuple[Episode, ...]

    @property
    def scored(self) -> tuple[Episode, ...]:
        """The episodes that say something."""
        return tuple(e for e in self.episodes if e.scored)


def _mean(values: Sequence[float]) -> float:
    # Summed exactly: in another order equal rewards must not become a win by a rounding error.
    return math.fsum(values) / len(values) if values else float("nan")


@dataclass(frozen=True, slots=True)
class Rollouts:
    """One round: groups in the order they were cast. Prompts may have played different tasks."""

    round: Round
    groups: tuple[Group, ...]

    def __len__(self) -> int:
        return sum(len(g.episodes) for g in self.groups)

    def __iter__(self) -> Iterator[Episode]:
        return (e for g in self.groups for e in g.episodes)

    @property
    def prompts(self) -> tuple[SystemPrompt, ...]:
        """The prompts that played, in the order they were cast."""
        return tuple({g.assignment.prompt.id: g.assignment.prompt for g in self.groups}.values())

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks played, in the order they were cast."""
        return tuple(dict.fromkeys(g.assignment.task for g in self.groups))

    def of(self, prompt: SystemPrompt) -> "Rollouts":
        """What this prompt played."""
        mine = tuple(g for g in self.groups if g.assignment.prompt.id == prompt.id)
        return Rollouts(self.round, mine)

    def on(self, task: Task) -> "Rollouts":
        """What was played on this task."""
        return Rollouts(self.round, tuple(g for g in self.groups if g.assignment.task == task))

    def value(self, prompt: SystemPrompt, task: Task) -> float:
        """V_i: the prompt's mean reward on the task (E-SPL Eq. 2); NaN if nothing was scored."""
        return _mean([e.reward for e in self.of(prompt).on(task) if e.scored])

    def _values(self) -> dict[Task, dict[str, float]]:
        """V by task and prompt id, of tasks on which everyone who played has a score.

        A task on which one prompt's episodes all failed would reward whoever was spared it.
        """
        values = {t: {p.id: self.value(p, t) for p in self.on(t).prompts} for t in self.tasks}
        return {t: v for t, v in values.items() if not any(map(math.isnan, v.values()))}

    def scores(self) -> dict[str, float]:
        """Each prompt's batch mean: the mean over its tasks of V_i, by prompt id; NaN if none."""
        values = self._values().values()
        return {p.id: _mean([v[p.id] for v in values if p.id in v]) for p in self.prompts}

    def winner(self) -> SystemPrompt | None:
        """The prompt with the highest batch mean (E-SPL Eq. 5), the first cast among equals."""
        scores = {i: s for i, s in self.scores().items() if not np.isnan(s)}
        if not scores:
            return None
        best = max(scores, key=lambda i: scores[i])
        return next(p for p in self.prompts if p.id == best)

    def wins(self) -> dict[str, tuple[Task, ...]]:
        """The tasks on which each prompt, and no other, was best (E-SPL Alg. 2)."""
        won: dict[str, list[Task]] = {p.id: [] for p in self.prompts}
        for task, values in self._values().items():
            best = [i for i, v in values.items() if v == max(values.values())]
            if len(best) == 1 and len(values) > 1:
                won[best[0]].append(task)
        return {i: tuple(tasks) for i, tasks in won.items()}

    def grid(self) -> NDArray[np.float64]:
        """Rewards [prompt, task, sample]; raises ValueError where the grid is not full."""
        shape = (len(self.prompts), len(self.tasks))
        cells = [[tuple(self.of(p).on(t)) for t in self.tasks] for p in self.prompts]
        sizes = {len(cell) for row in cells for cell in row}
        if len(sizes) != 1 or any(not e.scored for e in self):
            raise ValueError(f"the {shape} grid of prompts × tasks is ragged or has unscored cells")
        return np.array([[[e.reward for e in cell] for cell in row] for row in cells])

    def mean(self) -> float:
        """The mean reward of all scored episodes; NaN if none was scored."""
        return _mean([e.reward for e in self if e.scored])
