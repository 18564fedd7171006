"""Comparison of methods in Python: paired differences as text, HTML and a data frame."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.runs.results.optional import package
from harness.runs.results.select_rows import rows_for
from leaderboards.boards import formatting
from leaderboards.boards.compare import Comparison, TrackMismatch, compare
from leaderboards.stats.paired import Effect


@dataclass(frozen=True)
class Differences:
    """Differences of methods from the first one, paired over seeds and over test items."""

    comparison: Comparison

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """A row for each difference and each unit: training seeds, then test items."""
        return list(_rows(self.comparison))

    @property
    def text(self) -> str:
        """A line for each difference."""
        unit = self.comparison.unit
        return "\n".join(_line(row, unit) for row in self.rows)

    def to_pandas(self) -> Any:
        """The differences as a data frame."""
        return package("pandas", "to_pandas()").DataFrame(self.rows)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{escape(line)}</li>" for line in self.text.splitlines())
        cautions = "".join(f"<li>{escape(text)}</li>" for text in self.comparison.cautions)
        return f"<ul>{items}</ul>" + (f"<p>Cautions</p><ul>{cautions}</ul>" if cautions else "")


def compare_methods(
    methods: Sequence[str | Path], within: str | Path | None, seeds: Sequence[int]
) -> Differences:
    """Compare methods, run directories or entry files with the first of them.

    Raises:
        UsageError: One is not found or matches several rows, or their Tracks differ.
    """
    if len(methods) < 2:
        raise UsageError('Name two methods or more, as in harness.compare("rl", "espl").')
    around = [Path(within)] if within is not None else []
    rows = rows_for([str(method) for method in methods], around, seeds)
    try:
        return Differences(compare(rows))
    except TrackMismatch as error:
        raise UsageError(f"{error}; only results of one Track can be compared.") from error


def _rows(found: Comparison) -> Iterator[Mapping[str, Any]]:
    for contrast in found.contrasts:
        for over, effect in (("seeds", contrast.method), ("items", contrast.agent)):
            yield {
                "method": contrast.row.label,
                "reference": found.reference.label,
                "over": over,
                "units": effect.units,
                "difference": effect.value,
                **_ends(effect),
                "p": effect.p,
                "p_holm": effect.holm,
                "reason": effect.reason,
            }


def _ends(effect: Effect) -> dict[str, float | None]:
    interval = effect.interval
    return {"low": interval.low if interval else None, "high": interval.high if interval else None}


def _line(row: Mapping[str, Any], unit: bool) -> str:
    units = formatting.counted(row["units"], "training seed" if row["over"] == "seeds" else "task")
    head = f"{formatting.plain(row['method'], 60)} − {formatting.plain(row['reference'], 60)}"
    if row["difference"] is None:
        return f"{head}: unknown ({row['reason']})"
    text = f"{head} over {units}: {formatting.signed(row['difference'], unit)}"
    if row["low"] is None:
        return f"{text}, no interval ({row['reason']})"
    low, high = (formatting.signed(row[end], unit) for end in ("low", "high"))
    p = "" if row["p_holm"] is None else f", p {formatting.p_text(row['p_holm'])}"
    return f"{text} [{low}, {high}]{p}"
