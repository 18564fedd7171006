"""Pictures of the site: differences on one axis, grids of rewards, curves, the order of methods."""

from typing import Any

import pytest

from leaderboards.boards.model import Contrast
from leaderboards.boards.rank import boards
from leaderboards.site.differences import difference_plot
from leaderboards.site.grid import reward_grid
from leaderboards.site.hero import hero
from leaderboards.site.matrix import matrix
from leaderboards.site.plots import PlotCurve, learning
from leaderboards.stats.intervals import Interval


def contrast(value, low=None, high=None, holm=None):
    interval = None if low is None else Interval(low, high)
    return Contrast("a − b", value, interval, 5, "", holm, holm)


def test_differences_stand_on_one_axis_around_zero():
    found = difference_plot(
        [contrast(0.2, 0.1, 0.35, 0.01), contrast(-0.1, -0.3, 0.1, 0.4), contrast(0.05)], True
    )
    assert found.axis == ("−40.0", "−20.0", "0.0", "+20.0", "+40.0")
    assert [line.positions for line in found.lines] == [
        (62.5, 75.0, 93.8),
        (12.5, 37.5, 62.5),
        (None, 56.2, None),
    ]
    assert [line.decided for line in found.lines] == [True, False, False]
    assert found.lines[0].interval == "[+10.0, +35.0]" and found.lines[0].p == "0.010"


def test_an_interval_without_zero_is_not_decided_while_its_adjusted_p_is_large():
    (line,) = difference_plot([contrast(0.15, 0.04, 0.26, 0.057)], True).lines
    assert not line.decided


@pytest.mark.parametrize(
    ("value", "unit"), [(0.0, True), (0.0, False), (1e300, False), (1.0, True)]
)
def test_an_axis_holds_any_difference(value, unit):
    found = difference_plot([contrast(value, -value, value)], unit)
    places = found.lines[0].positions
    assert all(place is not None and 0 <= place <= 100 for place in places)


def test_a_grid_is_by_task_where_tasks_are_shared(make_entry):
    entries = [make_entry({"t:0": [1, 0], "t:1": [None, None]}, seed=seed) for seed in (3, 1)]
    (board,) = boards(entries)
    found: Any = reward_grid(board)
    assert (found["by"], found["columns"]) == ("task", ["t:0", "t:1"])
    assert found["rows"][0][1] == [[0.5, 4, board.rows[0].entries[0].id], None]


def test_a_grid_is_by_seed_where_each_seed_has_tasks_of_its_own(make_entry):
    entries = [
        make_entry({"t:0": [1, 0]}, track={"family": "f"}, seed=seed, method=method)
        for method, seed in (("espl", 0), ("espl", 2), ("rl", 2))
    ]
    (board,) = boards(entries)
    found: Any = reward_grid(board)
    assert (found["by"], found["columns"]) == ("seed", ["0", "2"])
    assert {label: [bool(cell) for cell in cells] for label, cells in found["rows"]} == {
        "espl": [True, True],
        "rl": [False, True],
    }


def test_methods_stand_in_the_order_of_the_leaderboard_that_most_of_them_share(make_entry):
    wide = [
        make_entry({"t": [score]}, method=method)
        for method, score in (("a", 0.1), ("b", 0.9), ("c", 0.5))
    ]
    # Alone on a leaderboard, a method is neither first nor last of anything.
    alone = make_entry({"t": [1.0]}, method="z", track={"env": "other-v1"})
    made = boards([*wide, alone])
    found = matrix(made)
    assert [name for name, _ in found.methods] == ["b", "c", "a", "z"]
    assert [board.track.env for board in found.boards] == ["arithmetic-v1", "other-v1"]
    first = {name: [cell and cell.first for cell in cells] for name, cells in found.methods}
    assert first == {"b": [True, None], "c": [False, None], "a": [False, None], "z": [None, False]}
    picture = hero(made, {})
    assert picture is not None
    assert [line.label for line in picture.lines] == ["b", "c", "a"]
    assert hero(boards([alone]), {}) is None


def test_five_seeds_make_a_band_and_fewer_are_drawn_one_by_one(make_entry):
    for count, forms in ((4, ["ghost"] * 4 + ["strong"]), (5, ["strong"])):
        entries = [make_entry(seed=seed) for seed in range(count)]
        (board,) = boards(entries)
        curves = {
            entry.id: PlotCurve({"episodes": (1.0, 2.0), "tokens": (5.0, 9.0)}, (0.1 * seed, 0.5))
            for seed, entry in enumerate(entries)
        }
        found: Any = learning(board.rows, curves, {"espl": 0}, True)
        assert [series["form"] for series in found["series"]] == forms
        last = found["series"][-1]
        if count == 5:
            # The second point has no spread, so no interval.
            assert last["low"][0] < last["y"][0] < last["high"][0]
            assert last["low"][1] is None
        else:
            assert "low" not in last
