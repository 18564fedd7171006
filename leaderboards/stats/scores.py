"""From the outcomes of runs to numbers, each with the question it answers.

Two questions are kept apart. *This agent*: how would the agents that were trained do on other tasks
like these? The tasks are the unit. *This method*: how would an agent from another training run do?
The training seeds are the unit. Unscored outcomes are left out, and bounded; they are never a 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from leaderboards.records.entry import Entry
from leaderboards.stats.intervals import Interval, mean, pass_at_k, t_interval, wilson


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval, with the question it answers.

    `units` counts tasks or seeds; `reason` says why there is no interval, where there is none.
    """

    estimand: Literal["this agent", "this method"]
    value: float | None
    interval: Interval | None
    units: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PassAtK:
    """pass@k: the mean over tasks, then over seeds; `tasks` counts those with k samples judged."""

    k: int
    value: float
    tasks: int


@dataclass(frozen=True, slots=True)
class Result:
    """A run and what its outcomes add up to. Scored and truncated outcomes count.

    `counts` and `means` are by task: how many samples count, and their mean reward; a task without
    any is absent. `right` counts a task's successes; it is None where a world does not tell.
    `least` and `most` are the smallest and the largest reward.
    """

    entry: Entry
    counts: Mapping[str, int]
    means: Mapping[str, float]
    right: Mapping[str, int] | None
    unscored: int
    truncated: int
    least: float
    most: float

    @property
    def score(self) -> float | None:
        """The mean over tasks of each task's mean reward; None where nothing was scored.

        Every task weighs the same, however many of its samples count; where none is unscored, this
        is the plain mean of all rewards.
        """
        return mean(list(self.means.values()))

    @property
    def bounds(self) -> tuple[float, float]:
        """The score if every unscored outcome were wrong (0), and if every one were right (1)."""
        total = math.fsum(self.means[task] * n for task, n in self.counts.items())
        outcomes = len(self.entry.outcomes)
        return total / outcomes, (total + self.unscored) / outcomes


def result(entry: Entry) -> Result:
    """Add up a run's outcomes."""
    rewards: dict[str, list[float]] = {}
    right: dict[str, int] = {}
    known, truncated, least, most = True, 0, math.inf, -math.inf
    for outcome in entry.outcomes:
        task, reward, success = outcome.task, outcome.reward, outcome.success
        if reward is None:
            continue
        if task in rewards:
            rewards[task].append(reward)
        else:
            rewards[task], right[task] = [reward], 0
        if success:
            right[task] += 1
        elif success is None:
            known = False
        if outcome.status == "truncated":
            truncated += 1
        if reward < least:
            least = reward
        if reward > most:
            most = reward
    counts = {task: len(values) for task, values in rewards.items()}
    return Result(
        entry=entry,
        counts=counts,
        means={task: math.fsum(values) / len(values) for task, values in rewards.items()},
        right=right if known else None,
        unscored=len(entry.outcomes) - sum(counts.values()),
        truncated=truncated,
        least=least if rewards else 0.0,
        most=most if rewards else 0.0,
    )


def of_agent(results: Sequence[Result], unit: bool) -> Estimate:
    """The trained agents on other tasks: the tasks are the unit, each with its mean over samples
    and over the row's agents. Wilson's interval, over tasks, where all outcomes are 0 or all 1.
    `unit` says that rewards lie within [0, 1].
    """
    by_task: dict[str, list[float]] = {}
    for one in results:
        for task, reward in one.means.items():
            by_task.setdefault(task, []).append(reward)
    means = [math.fsum(values) / len(values) for values in by_task.values()]
    value = mean(means)
    if value is None:
        return Estimate("this agent", None, None, 0, "nothing scored")
    if unit and value in (0.0, 1.0):
        right = len(means) if value else 0
        return Estimate("this agent", value, wilson(right, len(means)), len(means))
    interval = t_interval(means)
    reason = "" if interval else ("1 task" if len(means) == 1 else "no spread")
    return Estimate("this agent", value, _possible(interval, unit), len(means), reason)


def of_method(scores: Sequence[float | None], unit: bool) -> Estimate:
    """An agent of another training run: the seeds are the unit, t with df = seeds − 1."""
    counted = [value for value in scores if value is not None]
    interval = t_interval(counted)
    reason = ""
    if interval is None:
        reason = {0: "nothing scored", 1: "1 seed"}.get(len(counted), "no spread")
    possible = _possible(interval, unit)
    return Estimate("this method", mean(counted), possible, len(counted), reason)


def _possible(interval: Interval | None, unit: bool) -> Interval | None:
    return interval.clipped(0.0, 1.0) if interval and unit else interval


def passes(results: Sequence[Result], k: int) -> PassAtK | None:
    """pass@k over tasks with at least k samples that count; None where success is not known."""
    values: list[float] = []
    tasks: set[str] = set()
    for one in results:
        if one.right is None:
            return None
        enough = [task for task, n in one.counts.items() if n >= k]
        tasks.update(enough)
        value = mean([pass_at_k(one.counts[task], one.right[task], k) for task in enough])
        values += [] if value is None else [value]
    value = mean(values)
    return None if value is None else PassAtK(k, value, len(tasks))
