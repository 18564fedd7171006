"""A small chart as SVG: panels with logarithmic axes, measured lines and dashed laws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, COLUMNS = 250, 210, 4
LEFT, RIGHT, TOP, BOTTOM = 48, 20, 46, 30
INK, MEASURED, LAW = "#333", "#1f6fb2", "#b25a1f"


@dataclass(frozen=True)
class Line:
    """Values at the panel's sizes."""

    name: str
    values: Sequence[float]
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One chart: sizes across, values up, both doubling evenly."""

    title: str
    note: str
    sizes: Sequence[int]
    lines: Sequence[Line]


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def text(x: float, y: float, said: str, size: int = 11, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{INK}">{escape(said)}</text>'
    )


def plot(panel: Panel) -> list[str]:
    """The parts of one panel, at the origin."""
    values = [v for line in panel.lines for v in line.values]
    low, high = math.log2(min(values)) - 0.2, math.log2(max(values)) + 0.2
    across = (WIDTH - LEFT - RIGHT) / (len(panel.sizes) - 1)
    up = (HEIGHT - TOP - BOTTOM) / (high - low)
    floor = HEIGHT - BOTTOM

    def place(i: int, value: float) -> tuple[float, float]:
        return LEFT + i * across, floor - (math.log2(value) - low) * up

    parts = [text(LEFT, 16, panel.title, 12), text(LEFT, 32, panel.note, 10)]
    parts.append(
        f'<path d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}" fill="none" stroke="{INK}" '
        'stroke-width="0.7"/>'
    )
    for i, size in enumerate(panel.sizes):
        parts.append(text(LEFT + i * across, floor + 14, str(size), 10, "middle"))
    measured = next(line for line in panel.lines if not line.dashed).values
    ends = measured if abs(math.log2(measured[-1] / measured[0])) > 0.2 else measured[:1]
    for value in (ends[0], ends[-1]):
        parts.append(text(LEFT - 4, place(0, value)[1] + 3, number(value), 10, "end"))
    for line in panel.lines:
        points = [place(i, v) for i, v in enumerate(line.values)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        style = f'stroke="{LAW}" stroke-dasharray="4 3"' if line.dashed else f'stroke="{MEASURED}"'
        parts.append(f'<polyline points="{path}" fill="none" stroke-width="1.6" {style}/>')
        if not line.dashed:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{MEASURED}"/>' for x, y in points
            ]
    return parts


def draw(panels: Sequence[Panel]) -> str:
    """All panels in rows, as the text of an SVG file."""
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * WIDTH, rows * HEIGHT + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for i, panel in enumerate(panels):
        x, y = i % COLUMNS * WIDTH, i // COLUMNS * HEIGHT
        parts += [f'<g transform="translate({x} {y})">', *plot(panel), "</g>"]
    parts.append(text(LEFT, height - 8, "Blue: measured, medians. Dashed: the law, at most.", 11))
    return "\n".join([*parts, "</svg>"]) + "\n"
