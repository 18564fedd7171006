"""Plots of results with matplotlib: learning curves, and scores with their intervals."""

from collections.abc import Sequence
from typing import Any, Literal

from harness.errors import unknown
from harness.runs.results.optional import package
from harness.runs.results.tables import Row

PlotKind = Literal["curves", "scores"]


def plot(kind: str, curves: Sequence[Row], rows: Sequence[Row], axes: Any = None) -> Any:
    """Draw on new or given axes, and return them.

    Raises:
        UsageError: There is no such plot, or matplotlib is not installed.
    """
    if kind not in ("curves", "scores"):
        raise unknown("plot", kind, ("curves", "scores"))
    if axes is None:
        axes = package("matplotlib.pyplot", "plot()").subplots()[1]
    if kind == "curves":
        _curves(axes, curves)
    else:
        _scores(axes, rows)
    return axes


def _curves(axes: Any, curves: Sequence[Row]) -> None:
    """A thin line for each run, and a thick one for the mean of a method's runs."""
    methods = list(dict.fromkeys(row["method"] for row in curves))
    for number, method in enumerate(methods):
        colour, mine = f"C{number % 10}", [row for row in curves if row["method"] == method]
        by_budget: dict[int, list[float]] = {}
        for entry in dict.fromkeys(row["entry"] for row in mine):
            points = [
                (row["episodes"], row["reward"])
                for row in mine
                if row["entry"] == entry and row["reward"] is not None
            ]
            axes.plot(*zip(*points, strict=True), color=colour, alpha=0.3, lw=1) if points else None
            for episodes, reward in points:
                by_budget.setdefault(episodes, []).append(reward)
        mean = [(n, sum(rewards) / len(rewards)) for n, rewards in sorted(by_budget.items())]
        if mean:
            axes.plot(*zip(*mean, strict=True), color=colour, lw=2, label=_literal(method))
    axes.set_xlabel("training episodes")
    axes.set_ylabel("mean training reward")
    if methods:
        axes.legend()


def _scores(axes: Any, rows: Sequence[Row]) -> None:
    """Scores with their 95 % CI over training seeds, best at the top."""
    scored = [row for row in rows if row["score"] is not None][::-1]
    for place, row in enumerate(scored):
        if row["seeds_low"] is not None:
            axes.plot([row["seeds_low"], row["seeds_high"]], [place, place], color="C0", lw=2)
        axes.plot([row["score"]], [place], "o", color="C0")
    axes.set_yticks(range(len(scored)), [_literal(row["method"]) for row in scored])
    axes.set_xlabel("score, with 95 % CI over training seeds")


def _literal(text: str) -> str:
    """Text that matplotlib does not read as mathematics."""
    return str(text)[:60].replace("$", r"\$")
