"""Paired differences as a forest plot: one line each, on a common axis around zero."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.boards import formatting
from leaderboards.boards.model import Contrast, EqualTokensContrast


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """One difference: texts for the table, and its position in per cent of the plot's width.

    `positions` are the low end, the difference and the high end; None where unknown. `decided` is
    True where the adjusted p is below 5 %.
    """

    label: str
    value: str
    interval: str
    seeds: str
    p: str
    reason: str
    positions: tuple[float | None, float | None, float | None]
    decided: bool


@dataclass(frozen=True, slots=True)
class DifferencePlot:
    """The lines with their axis, from the left end to the right."""

    lines: tuple[DifferenceLine, ...]
    axis: tuple[str, ...]
    unit: bool


def difference_plot(
    found: Sequence[Contrast] | Sequence[EqualTokensContrast], unit: bool
) -> DifferencePlot:
    """Lay out the differences on one axis, symmetric around zero, that holds every interval."""
    ends = [abs(end) for one in found for end in _ends(one) if end is not None]
    reach = _rounded(max(ends, default=0.0) or (1.0 if unit else 1e-9))
    if unit:
        reach = min(reach, 1.0)
    ticks = [formatting.signed(share * reach, unit) for share in (-1, -0.5, 0, 0.5, 1)]
    return DifferencePlot(tuple(_line(one, reach, unit) for one in found), tuple(ticks), unit)


def _ends(one: Contrast | EqualTokensContrast) -> tuple[float | None, float | None, float | None]:
    interval = one.interval
    return (
        interval.low if interval else None,
        one.value,
        interval.high if interval else None,
    )


def _rounded(value: float) -> float:
    """The next number of the form 1, 2, 4, 5 or 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 4, 5, 8, 10, 20) if power * step >= value)


def _line(one: Contrast | EqualTokensContrast, reach: float, unit: bool) -> DifferenceLine:
    low, middle, high = _ends(one)
    tokens = (
        f" at {formatting.count(one.tokens)} tokens" if isinstance(one, EqualTokensContrast) else ""
    )
    interval = ""
    if low is not None and high is not None:
        interval = f"[{formatting.signed(low, unit)}, {formatting.signed(high, unit)}]"
    return DifferenceLine(
        label=f"{formatting.plain(one.label)}{tokens}",
        value=formatting.NOTHING if middle is None else formatting.signed(middle, unit),
        interval=interval,
        seeds=f"{one.seeds:,}",
        p="" if one.holm is None else formatting.p_text(one.holm).removeprefix("= "),
        reason=_reason(one, unit),
        positions=(_place(low, reach), _place(middle, reach), _place(high, reach)),
        decided=one.holm is not None and one.holm < 0.05,
    )


def _reason(one: Contrast | EqualTokensContrast, unit: bool) -> str:
    """The reason for no interval, and the range that unscored outcomes leave."""
    left = formatting.open_range(one, unit) if isinstance(one, Contrast) else ""
    return "; ".join(part for part in (formatting.plain(one.reason, 200), left) if part)


def _place(value: float | None, reach: float) -> float | None:
    if value is None:
        return None
    return round(50 + 50 * max(-1.0, min(1.0, value / reach)), 1)
