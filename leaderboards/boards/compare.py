"""Comparison of rows of one Track with a reference row, over test items and over training seeds.

Over test items the tasks are paired, over training seeds the seeds. The contrasts are each row
against the reference, in the requested order, and Holm's adjustment counts them all. Rows of
different Tracks are refused, with the fields in which they differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from leaderboards.boards.model import ENOUGH_SEEDS, Difference, Row, track_differences
from leaderboards.records.entry import Track
from leaderboards.stats.paired import Effect, holm, over_seeds, over_tasks
from leaderboards.stats.unscored import difference_bounds, paired_differences


class TrackMismatch(ValueError):
    """Rows of different Tracks; `differences` has every field in which they differ."""

    def __init__(self, here: str, there: str, differences: Sequence[Difference]) -> None:
        self.differences = tuple(differences)
        named = ", ".join(d.field for d in self.differences)
        super().__init__(
            f"'{there}' cannot be compared with '{here}': their Tracks differ in {named}"
        )


@dataclass(frozen=True, slots=True)
class RowComparison:
    """One row against the reference, over items (`agent`) and over seeds (`method`).

    Both are over outcomes that are scored on both sides. `bounds` of the difference hold for any
    reward of the unscored outcomes of common seeds; None if nothing is unscored or rewards leave
    [0, 1].
    """

    row: Row
    agent: Effect
    method: Effect
    bounds: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The reference and every contrast against it."""

    track: Track
    unit: bool
    reference: Row
    contrasts: tuple[RowComparison, ...]
    cautions: tuple[str, ...]


def compare(rows: Sequence[Row], by_bootstrap: bool = False) -> Comparison:
    """Compare the other rows with the first, the reference.

    Raises:
        TrackMismatch: if any of them belongs to another Track.
        ValueError: with fewer than two rows, or for a bootstrap over too few seeds.
    """
    if len(rows) < 2:
        raise ValueError("a comparison takes two rows or more")
    reference, *others = rows
    track = reference.entries[0].track
    for row in others:
        if differences := track_differences(track, row.entries[0].track):
            raise TrackMismatch(reference.label, row.label, differences)
    unit = all(_unit(row) for row in rows)
    found = [_contrast(row, reference, unit, by_bootstrap) for row in others]
    # Two questions, about agents and about methods: each has its own family of contrasts.
    agents = holm([c.agent.p for c in found])
    methods = holm([c.method.p for c in found])
    adjusted = tuple(
        replace(c, agent=replace(c.agent, holm=a), method=replace(c.method, holm=m))
        for c, a, m in zip(found, agents, methods, strict=True)
    )
    return Comparison(track, unit, reference, adjusted, tuple(_cautions(rows, adjusted)))


def _unit(row: Row) -> bool:
    rewards = [o.reward for e in row.entries for o in e.outcomes if o.reward is not None]
    return all(0 <= reward <= 1 for reward in rewards)


def _contrast(row: Row, reference: Row, unit: bool, by_bootstrap: bool) -> RowComparison:
    method = over_seeds(paired_differences(row.runs, reference.runs), by_bootstrap)
    bounds = difference_bounds(row.runs, reference.runs, (0.0, 1.0)) if unit else None
    return RowComparison(row, _agents(row, reference, unit), method.clipped(unit), bounds)


def _agents(row: Row, reference: Row, unit: bool) -> Effect:
    """The effect over test items, from each side's mean over its agents, task by task.

    With a per-seed task distribution only agents of common seeds have the same tasks. Otherwise all
    agents have, and all of them count if no seed is common. Of a common seed only tasks count that
    both agents have scored: another seed's score of a task on one side alone would not be paired.
    """
    common = set(row.seeds) & set(reference.seeds)
    if not common and row.entries[0].track.family:
        return over_tasks([], [], unit)
    a, b = _by_task(row, reference, common), _by_task(reference, row, common)
    # A task that one side has no score for cannot be paired.
    tasks = sorted(a.keys() & b.keys())
    return over_tasks(
        [a[t] for t in tasks], [b[t] for t in tasks], unit, _single(row, reference, common)
    ).clipped(unit)


def _by_task(row: Row, other: Row, common: set[int]) -> Mapping[str, float]:
    """The row's mean by task, over common seeds where the other has scored it, or over all."""
    values: dict[str, list[float]] = {}
    there = other.runs
    for seed, run in row.runs.items():
        if common and seed not in common:
            continue
        for task, reward in run.means.items():
            if not common or task in there[seed].means:
                values.setdefault(task, []).append(reward)
    return {task: sum(rewards) / len(rewards) for task, rewards in values.items()}


def _single(row: Row, reference: Row, common: set[int]) -> bool:
    """True where McNemar's test applies: one agent a side, one sample a task, rewards 0 or 1."""
    if row.entries[0].track.samples_per_task != 1:
        return False
    for side in (row, reference):
        agents = [e for e in side.entries if e.seed in common or not common]
        rewards = {o.reward for e in agents for o in e.outcomes}
        if len(agents) != 1 or not rewards <= {0.0, 1.0, None}:
            return False
    return True


def _cautions(rows: Sequence[Row], contrasts: Sequence[RowComparison]) -> list[str]:
    """Cautions for readers of the comparison."""
    found = []
    few = min((c.method.units for c in contrasts), default=0)
    if few < ENOUGH_SEEDS:
        seeds = "1 common seed" if few == 1 else f"{few} common seeds"
        found.append(f"{seeds}: differences over training seeds are provisional")
    if len({row.cost.episodes for row in rows if row.cost.episodes}) > 1:
        found.append("the runs have different numbers of training episodes")
    found += [f"{row.label}: {warning}" for row in rows for warning in row.warnings]
    return found
