"""Score against budget: area under the curve, and budget to reach a target.

The final score of a run depends on when it was stopped; these two depend on it less. The curve of a
run consists of training rewards by round; the curve of a method of test scores by budget. The two
are never mixed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from leaderboards.records.entry import Entry, Track
from leaderboards.records.strict_json import canonical
from leaderboards.stats.intervals import mean
from leaderboards.stats.scores import first_runs, result

WINDOW = 3  # rounds whose mean must reach a target, so that one lucky round does not count

By = Literal["episodes", "tokens"]


@dataclass(frozen=True, slots=True)
class BudgetCurve:
    """Points of (budget spent, score), by rising budget.

    "steps": each score is the mean reward while the budget rose to its point, from 0. "line": each
    was measured at its point.
    """

    points: tuple[tuple[float, float], ...]
    kind: Literal["steps", "line"]

    @property
    def normalised_auc(self) -> float | None:
        """The area under the curve divided by the budget it spans; None without a span."""
        if self.kind == "steps":
            ends = [0.0, *(budget for budget, _ in self.points)]
            levels = [score for _, score in self.points]
        else:
            ends = [budget for budget, _ in self.points]
            levels = [(a + b) / 2 for (_, a), (_, b) in pairwise(self.points)]
        spans = [end - start for start, end in pairwise(ends)]
        if sum(spans) <= 0:
            return None
        return sum(s * h for s, h in zip(spans, levels, strict=True)) / sum(spans)

    def budget_to_reach(self, target: float) -> float | None:
        """The budget at which the target is first reached; None if it never is.

        For steps, the mean of three rounds must reach it; a line is interpolated.
        """
        if self.kind == "steps":
            for end in range(WINDOW, len(self.points) + 1):
                window = self.points[end - WINDOW : end]
                if sum(score for _, score in window) / WINDOW >= target:
                    return window[-1][0]
            return None
        before: tuple[float, float] | None = None
        for budget, score in self.points:
            if score >= target:
                if before is None or score == before[1]:
                    return budget
                share = (target - before[1]) / (score - before[1])
                return before[0] + share * (budget - before[0])
            before = (budget, score)
        return None


def training_curve(rounds: Sequence[Mapping[str, Any]], by: By = "episodes") -> BudgetCurve:
    """The training curve of a run from the lines of its rounds.jsonl, without unscored rounds."""
    points = []
    for line in rounds:
        if line["reward"] is not None and line["scores"]:
            points.append((_spent(line["spent"], by), float(line["reward"])))
    return BudgetCurve(tuple(points), "steps")


def _spent(spent: Mapping[str, float], by: By) -> float:
    if by == "episodes":
        return float(spent["episodes"])
    return float(spent["acting_tokens"] + spent["reflection_tokens"])


def curves_of_entries(entries: Sequence[Entry], by: By = "episodes") -> dict[str, BudgetCurve]:
    """Test score against training budget, by method, over Tracks that differ only in their budget.

    Every curve starts at `base`, if the Tracks have it. Methods with a single point are absent; the
    key names method and environment. As on leaderboards, the first run of a seed counts, and runs
    whose settings changed do not.
    """
    groups: dict[tuple[Track, str, str], list[Entry]] = {}
    for entry in first_runs(entries):
        # Tracks that differ in nothing but their budget become equal, and one key.
        alike = replace(entry.track, budget_episodes=0)
        groups.setdefault((alike, entry.method, canonical(entry.row_config)), []).append(entry)
    starts = {track: mine for (track, method, _), mine in groups.items() if method == "base"}
    found: dict[str, BudgetCurve] = {}
    for (track, method, config), mine in groups.items():
        if method == "base":
            continue
        points = {0.0: _score(starts.get(track, []))} if track in starts else {}
        for budget in sorted({e.track.budget_episodes for e in mine}):
            at = [e for e in mine if e.track.budget_episodes == budget]
            points[_mean_spent(at, by)] = _score(at)
        kept = tuple((b, s) for b, s in sorted(points.items()) if s is not None)
        if len(kept) > 1:
            name = f"{method} on {track.env}"
            found[name if name not in found else f"{name} {config[:60]}"] = BudgetCurve(
                kept, "line"
            )
    return found


def _mean_spent(entries: Sequence[Entry], by: By) -> float:
    spent = [
        float(e.spent.episodes)
        if by == "episodes"
        else float(e.spent.acting_tokens + e.spent.reflection_tokens)
        for e in entries
    ]
    return sum(spent) / len(spent)


def _score(entries: Sequence[Entry]) -> float | None:
    scores = [result(entry).score for entry in entries]
    return mean([score for score in scores if score is not None])
