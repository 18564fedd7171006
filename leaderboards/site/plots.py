"""Data of the plots: learning curves, ratings, score against budget.

A plot is plain JSON that `assets/plots.js` draws: series with one y and an x for each axis that a
reader can choose. Nothing is smoothed; an unscored round is a gap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leaderboards.boards import formatting
from leaderboards.boards.model import ENOUGH_SEEDS, Row
from leaderboards.records.strict_json import JSON, canonical
from leaderboards.site.log import RoundLog, RunLog
from leaderboards.stats.intervals import mean, t_interval

MUTED = -1  # the tone of series without a colour of their own
_POINTS = 400  # of one line at most; longer curves are thinned evenly
_ROWS = 8  # lines of a board's learning curves: one for each colour
DRAWN = 100  # rows of a plot of scores; a method with the same settings counts once
_GHOSTS = 6  # single seeds drawn behind their mean

AXES = {"episodes": "training episodes", "tokens": "tokens sampled in training"}


@dataclass(frozen=True, slots=True)
class PlotCurve:
    """A run's training reward by round: x by axis, and y with None where nothing was scored."""

    x: Mapping[str, tuple[float, ...]]
    y: tuple[float | None, ...]


def curve(rounds: Sequence[RoundLog]) -> PlotCurve:
    """A run's learning curve, thinned to at most 400 points."""
    # Rounded up; 1 for a run without rounds. The last round is kept whatever the step.
    step = -(-len(rounds) // _POINTS) or 1
    kept = [each for number, each in enumerate(rounds) if number % step == 0 or each is rounds[-1]]
    return PlotCurve(
        {
            "episodes": tuple(float(t.episodes) for t in kept),
            "tokens": tuple(float(t.acting_tokens + t.reflection_tokens) for t in kept),
        },
        tuple(t.reward for t in kept),
    )


def run_curve(log: RunLog, unit: bool) -> JSON:
    """The learning curve of one run."""
    found = curve(log.rounds)
    line = _series("this run", 0, found.x, _scaled(found.y, unit), strong=True)
    return _plot(_reward(unit), AXES, [line], unit)


def ratings(log: RunLog, line: Sequence[str]) -> JSON:
    """μ by round for every prompt, with μ ± σ for ancestors of the selected prompt."""
    series: list[JSON] = []
    for prompt in sorted(log.prompts, key=lambda p: p.id in line):
        rated = [(t.round + 1, *t.ratings[prompt.id]) for t in log.rounds if prompt.id in t.ratings]
        if not rated:
            continue
        ancestor = prompt.id in line
        last = bool(line) and prompt.id == line[-1]
        tone = (list(line).index(prompt.id) % 8) if ancestor else MUTED
        name = f"{prompt.id}{' (selected)' if last else ''}"
        x = {"round": tuple(float(r) for r, _, _ in rated)}
        y = [mu for _, mu, _ in rated]
        low = [mu - sigma for _, mu, sigma in rated] if ancestor else None
        high = [mu + sigma for _, mu, sigma in rated] if ancestor else None
        series.append(_series(name, tone, x, y, low, high, strong=last))
    return _plot("rating μ ± σ", {"round": "round"}, series, False)


def learning(
    rows: Sequence[Row], curves: Mapping[str, PlotCurve], tones: Mapping[str, int], unit: bool
) -> JSON | None:
    """Learning curves of a leaderboard: each row's mean over seeds, with the CI over seeds.

    With fewer than five seeds, the single seeds are drawn instead.

    None if the log of no run could be read.
    """
    series: list[JSON] = []
    drawn = 0
    for row in rows:
        found = [curves[entry.id] for entry in row.entries if entry.id in curves]
        # One point makes no line.
        found = [one for one in found if len(one.y) > 1]
        if not found or drawn == _ROWS:
            continue
        drawn += 1
        tone = tones.get(row.method, MUTED)
        name = formatting.plain(row.label, 60)
        banded = len(found) >= ENOUGH_SEEDS
        if len(found) > 1 and not banded:
            for one in found[:_GHOSTS]:
                y = _scaled(one.y, unit)
                series.append(_series("", tone, one.x, y, ghost=True))
        middle = _mean(found)
        low, high = _band(found, unit) if banded else (None, None)
        y = _scaled(middle.y, unit)
        series.append(_series(name, tone, middle.x, y, low, high, strong=True))
    return _plot(_reward(unit), AXES, series, unit) if series else None


def _band(curves: Sequence[PlotCurve], unit: bool) -> tuple[list[float | None], list[float | None]]:
    """The ends of the 95 % t interval over seeds, round by round; None where it has none."""
    found = []
    for place in range(min(len(one.y) for one in curves)):
        values = [one.y[place] for one in curves]
        interval = t_interval([v for v in values if v is not None])
        found.append(interval.clipped(0, 1) if interval and unit else interval)
    low = _scaled([each.low if each else None for each in found], unit)
    return low, _scaled([each.high if each else None for each in found], unit)


def _mean(curves: Sequence[PlotCurve]) -> PlotCurve:
    """The mean over seeds, round by round, up to the length of the shortest."""
    length = min(len(one.y) for one in curves)
    y = []
    for place in range(length):
        values = [one.y[place] for one in curves]
        y.append(mean([v for v in values if v is not None]))
    x = {
        axis: tuple(
            sum(one.x[axis][place] for one in curves) / len(curves) for place in range(length)
        )
        for axis in AXES
    }
    return PlotCurve(x, tuple(y))


def spent(groups: Sequence[Sequence[Row]], tones: Mapping[str, int], unit: bool) -> JSON:
    """Test score against training cost, one point for each row, with the CI over test items.

    `groups` are the rows of Tracks that differ in their budget alone, this Track's own first: a
    method with the same settings is one line through all budgets. The first `DRAWN` are drawn.
    """
    lines: dict[tuple[str, str], list[Row]] = {}
    for rows in groups:
        for row in rows:
            if row.score is not None:
                lines.setdefault((row.method, canonical(row.config)), []).append(row)
    series: list[JSON] = []
    for (method, _), rows in list(lines.items())[:DRAWN]:
        rows = sorted(rows, key=lambda r: r.cost.episodes)
        x = {
            "episodes": tuple(r.cost.episodes for r in rows),
            "tokens": tuple(r.cost.acting_tokens + r.cost.reflection_tokens for r in rows),
            "seconds": tuple(r.cost.seconds for r in rows),
        }
        ends = [r.item_estimate.interval for r in rows]
        low = _scaled([e.low if e else None for e in ends], unit)
        high = _scaled([e.high if e else None for e in ends], unit)
        y = _scaled([r.score for r in rows], unit)
        name = formatting.plain(rows[0].label, 60)
        series.append(_series(name, tones.get(method, MUTED), x, y, low, high, points=True))
    axes = {**AXES, "seconds": "seconds in the model"}
    return _plot("test score" + (" in per cent" if unit else ""), axes, series, unit)


def _reward(unit: bool) -> str:
    return "training reward" + (" in per cent" if unit else "")


def _scaled(values: Sequence[float | None], unit: bool) -> list[float | None]:
    scale = 100 if unit else 1
    return [None if v is None else round(scale * v, 4) for v in values]


def _series(
    label: str,
    tone: int,
    x: Mapping[str, Sequence[float]],
    y: Sequence[float | None],
    low: Sequence[float | None] | None = None,
    high: Sequence[float | None] | None = None,
    *,
    strong: bool = False,
    ghost: bool = False,
    points: bool = False,
) -> JSON:
    bounds = {"low": list(low), "high": list(high)} if low and high else {}
    form = "points" if points else "ghost" if ghost else "strong" if strong else "line"
    across = {axis: list(values) for axis, values in x.items()}
    return {"label": label, "tone": tone, "form": form, "x": across, "y": list(y), **bounds}


def _plot(y: str, axes: Mapping[str, str], series: Sequence[JSON], unit: bool) -> JSON:
    return {"y": y, "axes": dict(axes), "unit": unit, "series": list(series)}
