"""Scores of runs from their outcomes, with two confidence intervals.

Over test items: how would the agents that were trained do on other tasks like these? The tasks are
the unit. Over training seeds: how would an agent from another training run do? The training seeds
are the unit. Unscored outcomes are left out and bounded; they never count as 0.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from leaderboards.records.entry import Entry
from leaderboards.records.strict_json import canonical
from leaderboards.stats.intervals import Interval, mean, pass_at_k, t_interval, wilson


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval over test items or over training seeds.

    `estimand` is "this agent" for items and "this method" for seeds: published JSON has these
    words. `units` counts the tasks or seeds; `reason` says why the interval is missing, if it is.
    """

    estimand: Literal["this agent", "this method"]
    value: float | None
    interval: Interval | None
    units: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PassAtK:
    """pass@k: the mean over tasks, then over seeds; `tasks` counts those with k graded samples."""

    k: int
    value: float
    tasks: int


@dataclass(frozen=True, slots=True)
class Result:
    """Totals over a run's outcomes. Scored and truncated outcomes count, unscored ones do not.

    `counts` and `means` hold, by task, the number of samples that count and their mean reward; a
    task without any is absent. `correct` counts successes by task; it is None where an environment
    does not report success. `min_reward` and `max_reward` are over all samples.
    """

    entry: Entry
    counts: Mapping[str, int]
    means: Mapping[str, float]
    correct: Mapping[str, int] | None
    unscored: int
    truncated: int
    min_reward: float
    max_reward: float

    @property
    def score(self) -> float | None:
        """The mean over tasks of each task's mean reward; None where nothing was scored.

        Every task has the same weight, whatever the number of its samples that count; with nothing
        unscored this is the plain mean of all rewards.
        """
        return mean(list(self.means.values()))

    @property
    def bounds(self) -> tuple[float, float]:
        """The score if every unscored outcome were wrong (0), and if every one were correct (1)."""
        total = math.fsum(self.means[task] * n for task, n in self.counts.items())
        outcomes = len(self.entry.outcomes)
        return total / outcomes, (total + self.unscored) / outcomes


def result(entry: Entry) -> Result:
    """Total a run's outcomes."""
    rewards: dict[str, list[float]] = {}
    correct: dict[str, int] = {}
    known, truncated, lowest, highest = True, 0, math.inf, -math.inf
    # One pass: a board totals tens of thousands of outcomes each time it is printed.
    for outcome in entry.outcomes:
        task, reward, success = outcome.task, outcome.reward, outcome.success
        if reward is None:
            continue
        if task in rewards:
            rewards[task].append(reward)
        else:
            rewards[task], correct[task] = [reward], 0
        if success:
            correct[task] += 1
        elif success is None:
            known = False
        if outcome.status == "truncated":
            truncated += 1
        if reward < lowest:
            lowest = reward
        if reward > highest:
            highest = reward
    # Unscored outcomes are in no count: they are neither right nor wrong.
    counts = {task: len(values) for task, values in rewards.items()}
    return Result(
        entry=entry,
        counts=counts,
        means={task: math.fsum(values) / len(values) for task, values in rewards.items()},
        correct=correct if known else None,
        unscored=len(entry.outcomes) - sum(counts.values()),
        truncated=truncated,
        min_reward=lowest if rewards else 0.0,
        max_reward=highest if rewards else 0.0,
    )


def estimate_over_items(results: Sequence[Result], unit: bool) -> Estimate:
    """Estimate for the trained agents on other tasks; the tasks are the unit.

    A task's value is its mean over samples and over the row's agents. Student's t interval, or
    Wilson's over tasks where all outcomes are 0 or all 1. `unit`: all rewards lie within [0, 1].
    """
    by_task: dict[str, list[float]] = {}
    for one in results:
        for task, reward in one.means.items():
            by_task.setdefault(task, []).append(reward)
    # One unit a task, however many agents met it: their rewards on one task are not independent.
    means = [math.fsum(values) / len(values) for values in by_task.values()]
    value = mean(means)
    if value is None:
        return Estimate("this agent", None, None, 0, "nothing scored")
    if unit and value in (0.0, 1.0):
        # Without spread a t interval would be empty; Wilson's is not.
        successes = len(means) if value else 0
        return Estimate("this agent", value, wilson(successes, len(means)), len(means))
    interval = t_interval(means)
    reason = "" if interval else ("1 task" if len(means) == 1 else "no spread")
    return Estimate("this agent", value, _possible(interval, unit), len(means), reason)


def estimate_over_seeds(scores: Sequence[float | None], unit: bool) -> Estimate:
    """Estimate for an agent of another training run; seeds are the unit, t with df = seeds − 1."""
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
        if one.correct is None:
            return None
        enough = [task for task, n in one.counts.items() if n >= k]
        tasks.update(enough)
        value = mean([pass_at_k(one.counts[task], one.correct[task], k) for task in enough])
        values += [] if value is None else [value]
    value = mean(values)
    return None if value is None else PassAtK(k, value, len(tasks))


def first_runs(entries: Iterable[Entry]) -> list[Entry]:
    """The entries that leaderboards count: of each seed the first run, if no setting changed."""
    kept: dict[tuple[str, str, str, int], Entry] = {}
    for entry in sorted(entries, key=lambda e: (run_moment(e), e.id)):
        if not entry.segments:
            row = (entry.track.id, entry.method, canonical(entry.row_config), entry.seed)
            kept.setdefault(row, entry)
    return list(kept.values())


def run_moment(entry: Entry) -> datetime:
    """The time at which an entry was made."""
    return datetime.fromisoformat(entry.provenance.created)
