"""The rows and the chart of growth say what was measured."""

from xml.etree import ElementTree

import pytest

from benchmarks.speed.chart import Line, Panel, draw
from benchmarks.speed.laws import Doubling, Law, panel, rows, tokens, whole
from benchmarks.speed.race import Reading


def doubling() -> Doubling:
    return Doubling("turns", (2, 4, 8), [Law("tokens", tokens, 2, "a"), Law("all", whole, 1, "b")])


def test_a_row_holds_the_last_doubling_against_its_law() -> None:
    found = {
        str(n): [Reading(wall=0, cpu=float(n), tokens=10 * n), Reading(0, 1.1 * n, 10 * n)]
        for n in (2, 4, 8)
    }
    linear, flat = rows(doubling(), "m", found)
    assert linear.what == "m: turns ×2, tokens"
    assert list(linear.ratios) == pytest.approx([2, 2])
    assert linear.met
    assert not flat.met  # twice the cost where the law says the same
    assert "2 to 8: 2.00, 2.00" in linear.note


def test_the_chart_is_an_svg_that_escapes_and_holds_every_panel() -> None:
    measured = doubling()
    measured.found["tokens"] = [1.0, 2.0, 5.0]
    drawn = draw(
        [
            panel(measured, measured.laws[0]),
            Panel("a < b & c", "", (1, 2), [Line("x", [1.0, 1.0])]),
        ]
    )
    root = ElementTree.fromstring(drawn)
    texts = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "turns: tokens" in texts
    assert "a < b & c" in texts
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 3
