"""A round and its rollouts, with the statistics that methods learn from."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.seeds import Seeds
from harness.types import Assignment, Episode, SystemPrompt, Task


@dataclass(frozen=True, slots=True)
class Round:
    """One iteration of training: B tasks, and the budget of B·M·N episodes.

    `prompts` is M and `samples` is N; a method may divide the M·N samples of a task otherwise.
    """

    index: int
    tasks: tuple[Task, ...]
    prompts: int
    samples: int
    seeds: Seeds

    def rng(self, name: str) -> np.random.Generator:
        """This round's random stream of that name; the same again when a run is resumed."""
        return self.seeds.generator(name)


@dataclass(frozen=True, slots=True)
class Group:
    """The episodes of one assignment, compared with their own mean reward by default."""

    assignment: Assignment
    episodes: tuple[Episode, ...]

    @property
    def scored(self) -> tuple[Episode, ...]:
        """The episodes with a score; environment and grader failures have none."""
        return tuple(e for e in self.episodes if e.scored)


def _mean(values: Sequence[float]) -> float:
    # fsum is exact: added in another order, equal rewards must not differ by a rounding error,
    # which would turn a tie into a win.
    return math.fsum(values) / len(values) if values else float("nan")


@dataclass(frozen=True, slots=True)
class Rollouts:
    """The episodes of one round, by group in the order of assignment.

    Prompts may have attempted different tasks, and groups may differ in size.
    """

    round: Round
    groups: tuple[Group, ...]

    def __len__(self) -> int:
        return sum(len(g.episodes) for g in self.groups)

    def __iter__(self) -> Iterator[Episode]:
        return (e for g in self.groups for e in g.episodes)

    @property
    def prompts(self) -> tuple[SystemPrompt, ...]:
        """The different prompts, in the order of assignment."""
        return tuple({g.assignment.prompt.id: g.assignment.prompt for g in self.groups}.values())

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The different tasks, in the order of assignment."""
        return tuple(dict.fromkeys(g.assignment.task for g in self.groups))

    def of(self, prompt: SystemPrompt) -> "Rollouts":
        """The rollouts under this prompt."""
        mine = tuple(g for g in self.groups if g.assignment.prompt.id == prompt.id)
        return Rollouts(self.round, mine)

    def on(self, task: Task) -> "Rollouts":
        """The rollouts on this task."""
        return Rollouts(self.round, tuple(g for g in self.groups if g.assignment.task == task))

    def value(self, prompt: SystemPrompt, task: Task) -> float:
        """V_i: the prompt's mean reward on the task (E-SPL Eq. 2); NaN if nothing was scored."""
        return _mean([e.reward for e in self.of(prompt).on(task) if e.scored])

    def _values(self) -> dict[Task, dict[str, float]]:
        """V by task and prompt id, without tasks on which some prompt has no score.

        Counted for the others alone, such a task would favour or harm them by its difficulty.
        """
        values = {t: {p.id: self.value(p, t) for p in self.on(t).prompts} for t in self.tasks}
        return {t: v for t, v in values.items() if not any(map(math.isnan, v.values()))}

    def scores(self) -> dict[str, float]:
        """Each prompt's mean of V_i over its tasks, by prompt id; NaN without a score."""
        values = self._values().values()
        return {p.id: _mean([v[p.id] for v in values if p.id in v]) for p in self.prompts}

    def best_prompt(self) -> SystemPrompt | None:
        """The prompt with the highest score (E-SPL Eq. 5), the first among equals; None if none."""
        scores = {i: s for i, s in self.scores().items() if not np.isnan(s)}
        if not scores:
            return None
        # `max` keeps the first of equals, so the result does not depend on hashing.
        best = max(scores, key=lambda i: scores[i])
        return next(p for p in self.prompts if p.id == best)

    def wins(self) -> dict[str, tuple[Task, ...]]:
        """The tasks on which each prompt alone was best, by prompt id (E-SPL Alg. 2)."""
        won: dict[str, list[Task]] = {p.id: [] for p in self.prompts}
        for task, values in self._values().items():
            best = [i for i, v in values.items() if v == max(values.values())]
            # Alone best, and not for lack of a rival.
            if len(best) == 1 and len(values) > 1:
                won[best[0]].append(task)
        return {i: tuple(tasks) for i, tasks in won.items()}

    def grid(self) -> NDArray[np.float64]:
        """Rewards [prompt, task, sample].

        Raises:
            ValueError: The groups differ in size, or an episode is unscored.
        """
        shape = (len(self.prompts), len(self.tasks))
        cells = [[tuple(self.of(p).on(t)) for t in self.tasks] for p in self.prompts]
        sizes = {len(cell) for row in cells for cell in row}
        if len(sizes) != 1 or any(not e.scored for e in self):
            raise ValueError(f"the {shape} grid of prompts × tasks is ragged or has unscored cells")
        return np.array([[[e.reward for e in cell] for cell in row] for row in cells])

    def mean(self) -> float:
        """The mean reward of all scored episodes; NaN if there is none."""
        return _mean([e.reward for e in self if e.scored])
