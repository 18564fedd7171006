"""Preregistered contrasts, and their evaluation on results.

A file of contrasts states the expected differences between methods by environment, and how each is
tested. Training seeds are the unit throughout: differences are paired over common seeds.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from leaderboards.records.strict_json import RecordError, decode
from leaderboards.stats.intervals import Interval, mean, t_interval

CALIBRATION = Path(__file__).resolve().parents[1] / "contrasts" / "calibration.toml"

Scores = Mapping[str, Mapping[int, float]]
"""The scores on one environment in points, by method and training seed."""


@dataclass(frozen=True, slots=True)
class PreregisteredContrast:
    """One contrast; the head of the file explains each `kind`."""

    world: str
    kind: Literal["more", "at least", "within", "null"]
    method: str
    than: str
    of: str
    margin: float
    repeats: int

    @property
    def claim(self) -> str:
        """The claim as text."""
        if self.kind == "more":
            return f"{self.method} > {self.than}"
        if self.kind == "at least":
            return f"{self.method} at least {self.of} − {self.margin:g}"
        if self.kind == "within":
            return f"{self.method} within ±{self.margin:g} of {self.of}"
        return f"no method differs from {self.of} by chance too often"


@dataclass(frozen=True, slots=True)
class PreregisteredPlan:
    """A file of contrasts: the runs, and the claims about them."""

    name: str
    episodes: int
    model: str
    preset: str
    methods: tuple[str, ...]
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
    blank = {"method": "", "than": "", "of": "", "margin": 0.0, "repeats": 0}
    rows = values.get("contrast")
    if isinstance(rows, list):
        values["contrast"] = [blank | row if isinstance(row, dict) else row for row in rows]
    try:
        return decode(PreregisteredPlan, values)
    except RecordError as error:
        raise error.named(str(path)) from None


def findings(plan: PreregisteredPlan, scores: Mapping[str, Scores]) -> Iterator[Finding]:
    """Evaluate every contrast of the environments that have scores."""
    for contrast in plan.contrast:
        if contrast.world in scores:
            yield judge(contrast, scores[contrast.world])


def judge(contrast: PreregisteredContrast, scores: Scores) -> Finding:
    """Evaluate one contrast."""
    if contrast.kind == "null":
        return _null(contrast, scores)
    other = contrast.than or contrast.of
    mine, theirs = scores.get(contrast.method, {}), scores.get(other, {})
    differences = [mine[seed] - theirs[seed] for seed in sorted(mine) if seed in theirs]
    # To show that a difference is small takes two one-sided tests at 5 % each, and those are the
    # two ends of a 90 % interval (Schuirmann, 1987).
    level = 0.95 if contrast.kind == "more" else 0.90
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
        f"{value:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}], {100 * level:.0f} % paired t"
    )
    return Finding(contrast, holds, len(differences), value, interval, summary)


def _null(contrast: PreregisteredContrast, scores: Scores) -> Finding:
    """Permutation test: shuffle the labels within each seed and count false findings."""
    from scipy.stats import binomtest, ttest_1samp

    # Seeds that every method has, because labels are exchanged within a seed.
    seeds = sorted(set.intersection(*(set(of) for of in scores.values())) if scores else set())
    methods = [contrast.of, *(m for m in scores if m != contrast.of)]
    if len(seeds) < 2 or contrast.of not in scores or len(methods) < 2:
        return Finding(contrast, False, len(seeds), None, None, "needs two seeds or more")
    table = np.array([[scores[m][s] for m in methods] for s in seeds])
    # A fixed seed: the same scores give the same finding each time.
    rng = np.random.default_rng(20261122)
    # If no method differs, the labels within a training seed may be exchanged freely.
    shuffled = rng.permuted(np.broadcast_to(table, (contrast.repeats, *table.shape)), axis=2)
    against = shuffled[:, :, 1:] - shuffled[:, :, :1]
    # Differences without spread give NaN, which the minimum below leaves out.
    with np.errstate(invalid="ignore", divide="ignore"):
        p_values = ttest_1samp(against, 0.0, axis=1).pvalue
    # Some method is significant after Holm just when the smallest p passes Bonferroni's threshold.
    wrong = int((np.nanmin(p_values, axis=1) <= 0.05 / against.shape[2]).sum())
    rate = wrong / contrast.repeats
    # By chance a rate is above 5 % about half of the time: only one significantly above counts.
    above = binomtest(wrong, contrast.repeats, 0.05, alternative="greater").pvalue < 0.05
    summary = f"{100 * rate:.1f} % of {contrast.repeats:,} repeats, over {against.shape[2]} methods"
    return Finding(contrast, not above, len(seeds), rate, None, summary)


def means(scores: Scores, methods: Sequence[str]) -> list[float | None]:
    """Each method's mean over seeds."""
    return [mean(list(scores.get(method, {}).values())) for method in methods]
