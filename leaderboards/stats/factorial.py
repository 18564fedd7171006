"""Effects between variants of one agent on the same tasks: 2 × 2 and leave-one-out ablations.

All intervals are over test items: the tasks are the unit, and variants are paired by task. Effects
over training seeds need more runs, and `compare`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from leaderboards.stats.intervals import Interval, mean, t_interval, wilson
from leaderboards.stats.paired import Effect, holm, over_tasks, paired_t

Cell = Mapping[str, float]
"""A variant's mean reward by task; a task without any scored episode is absent."""


@dataclass(frozen=True, slots=True)
class NamedEffect:
    """A named difference between two cells, with its estimate."""

    name: str
    effect: Effect


def cell_mean(cell: Cell, unit: bool) -> tuple[float | None, Interval | None]:
    """The mean of a cell over tasks and its 95 % interval; Wilson's if all tasks agree."""
    values = list(cell.values())
    value = mean(values)
    if value is None:
        return None, None
    # All tasks agree: Student's t has no spread to work with, and Wilson's needs none.
    if unit and value in (0.0, 1.0):
        return value, wilson(len(values) if value else 0, len(values))
    interval = t_interval(values)
    return value, interval.clipped(0.0, 1.0) if interval and unit else interval


def all_in_unit_interval(cells: Sequence[Cell]) -> bool:
    """True if all rewards lie within [0, 1]."""
    return all(0 <= value <= 1 for cell in cells for value in cell.values())


def differences(pairs: Sequence[tuple[str, Cell, Cell]], unit: bool) -> list[NamedEffect]:
    """Each named pair's first minus its second, adjusted for all of them together (Holm)."""
    found = []
    for name, a, b in pairs:
        # Only tasks that were scored in both cells can be paired.
        tasks = sorted(a.keys() & b.keys())
        effect = over_tasks([a[t] for t in tasks], [b[t] for t in tasks], unit)
        found.append(NamedEffect(name, effect.clipped(unit)))
    return adjusted(found)


def interaction(joint: Cell, first: Cell, second: Cell, neither: Cell) -> Effect:
    """The interaction: the joint gain minus the sum of the single gains, task by task."""
    tasks = sorted(joint.keys() & first.keys() & second.keys() & neither.keys())
    # (both − neither) − (prompt − neither) − (weights − neither): the base appears with a plus.
    values = [joint[t] - first[t] - second[t] + neither[t] for t in tasks]
    interval, p = t_interval(values), paired_t(values)
    reason = "" if interval else ("no spread" if len(values) > 1 else "too few tasks")
    test = f"paired t, df {len(values) - 1}" if p is not None else ""
    return Effect("this agent", mean(values), interval, p, len(values), test, reason)


def factorial(
    neither: Cell, prompt: Cell, weights: Cell, both: Cell, unit: bool
) -> list[NamedEffect]:
    """The 2 × 2 ablation {base, trained weights} × {initial, evolved prompt}: four effects."""
    found = differences(
        [
            ("evolved prompt alone", prompt, neither),
            ("trained weights alone", weights, neither),
            ("both together", both, neither),
        ],
        unit,
    )
    # Holm covers all four: `adjusted` replaces the adjustment for the first three.
    together = NamedEffect("interaction", interaction(both, prompt, weights, neither))
    return adjusted([*found, together])


def adjusted(found: Sequence[NamedEffect]) -> list[NamedEffect]:
    """The effects with Holm's adjustment over all of them."""
    p_values = holm([one.effect.p for one in found])
    return [
        replace(one, effect=replace(one.effect, holm=p))
        for one, p in zip(found, p_values, strict=True)
    ]
