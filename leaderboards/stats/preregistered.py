"""Preregistered contrasts, and their evaluation on results.

A file of contrasts states the expected differences between methods by environment, and how each is
tested. Training seeds are the unit throughout: differences are paired over common seeds.
"""

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from leaderboards.records.field_checks import require
from leaderboards.records.strict_json import RecordError, decode
from leaderboards.stats.intervals import Interval, mean, t_interval

ALPHA = 0.05
CALIBRATION = Path(__file__).resolve().parents[1] / "contrasts" / "calibration.toml"

Scores = Mapping[str, Mapping[int, float]]
"""The scores on one environment in points, by method and training seed."""


@dataclass(frozen=True, slots=True)
class PreregisteredContrast:
    """One contrast; the head of the file explains each `kind`."""

    world: str
    kind: Literal["more", "at least", "within", "equivalent"]
    method: str
    than: str
    of: str
    margin: float

    @property
    def claim(self) -> str:
        """The claim as text."""
        if self.kind == "more":
            return f"{self.method} > {self.than}"
        if self.kind == "at least":
            return f"{self.method} at least {self.of} − {self.margin:g}"
        if self.kind == "within":
            return f"{self.method} within ±{self.margin:g} of {self.of}"
        return f"every method within ±{self.margin:g} of {self.of}"


@dataclass(frozen=True, slots=True)
class PreregisteredPlan:
    """A file of contrasts: the runs, and the claims about them.

    `attempts` is the number of confirmations allowed, on fresh seeds each. They share the level of
    5 %, so that a claim that is wrong passes in any of them at most so often.
    """

    name: str
    episodes: int
    model: str
    preset: str
    methods: tuple[str, ...]
    attempts: int
    contrast: tuple[PreregisteredContrast, ...]

    @property
    def worlds(self) -> tuple[str, ...]:
        """The environments of all contrasts, in the file's order."""
        return tuple(dict.fromkeys(c.world for c in self.contrast))


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a contrast; `value` is a difference in points or a rate, None if unknown."""

    contrast: PreregisteredContrast
    holds: bool
    seeds: int
    value: float | None
    interval: Interval | None
    said: str


def read_plan(path: Path) -> PreregisteredPlan:
    """A file of contrasts; raises RecordError naming the field that is wrong."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise RecordError(f"cannot be read ({error})", source=str(path)) from error
    values.setdefault("attempts", 1)
    blank = {"method": "", "than": "", "of": "", "margin": 0.0}
    rows = values.get("contrast")
    if isinstance(rows, list):
        values["contrast"] = [blank | row if isinstance(row, dict) else row for row in rows]
    try:
        plan = decode(PreregisteredPlan, values)
        require(1 <= plan.attempts <= 100, "attempts", "must be 1 to 100")
    except RecordError as error:
        raise error.named(str(path)) from None
    return plan


def findings(plan: PreregisteredPlan, scores: Mapping[str, Scores]) -> Iterator[Finding]:
    """Evaluate every contrast of the environments that have scores."""
    for contrast in plan.contrast:
        if contrast.world in scores:
            yield judge(contrast, scores[contrast.world], ALPHA / plan.attempts)


def judge(contrast: PreregisteredContrast, scores: Scores, alpha: float = ALPHA) -> Finding:
    """Evaluate one contrast at the level `alpha`."""
    if contrast.kind == "equivalent":
        return _equivalent(contrast, scores, alpha)
    other = contrast.than or contrast.of
    mine, theirs = scores.get(contrast.method, {}), scores.get(other, {})
    differences = [mine[seed] - theirs[seed] for seed in sorted(mine) if seed in theirs]
    # To show that a difference is small takes two one-sided tests at 5 % each, and those are the
    # two ends of a 90 % interval (Schuirmann, 1987).
    level = 1 - alpha if contrast.kind == "more" else 1 - 2 * alpha
    interval = t_interval(differences, level)
    value = mean(differences)
    if interval is None or value is None:
        why = "no spread over seeds" if len(differences) > 1 else "needs two seeds or more"
        return Finding(contrast, False, len(differences), value, None, why)
    if contrast.kind == "more":
        holds = interval.low > 0
    else:
        below = contrast.kind == "at least" or interval.high < contrast.margin
        holds = -contrast.margin < interval.low and below
    summary = (
        f"{value:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}], {100 * level:.4g} % paired t"
    )
    return Finding(contrast, holds, len(differences), value, interval, summary)


def _equivalent(contrast: PreregisteredContrast, scores: Scores, alpha: float) -> Finding:
    """Equivalence of every method to the reference: each must lie within the margin.

    All of them must hold, so their number needs no correction (an intersection–union test).
    """
    others = [method for method in scores if method != contrast.of]
    found = [judge(replace(contrast, kind="within", method=m), scores, alpha) for m in others]
    if not found:
        return Finding(contrast, False, 0, None, None, "needs a method beside the reference")

    def reach(one: Finding) -> float:
        """The end of the interval that is farther from 0."""
        return max(-one.interval.low, one.interval.high) if one.interval else math.inf

    # The method that comes nearest to breaking the claim, or breaks it most, stands for all.
    widest = max(found, key=reach)
    text = f"{widest.contrast.method}: {widest.said}, the farthest of {len(found)} methods"
    return Finding(
        contrast, all(one.holds for one in found), widest.seeds, widest.value, widest.interval, text
    )


def means(scores: Scores, methods: Sequence[str]) -> list[float | None]:
    """Each method's mean over seeds."""
    return [mean(list(scores.get(method, {}).values())) for method in methods]
