"""Comparisons of rows: two questions, Holm over what was named, one Track or a refusal."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from scipy import stats

from leaderboards.boards.compare import TrackMismatch, compare
from leaderboards.boards.model import Row
from leaderboards.boards.rank import boards
from leaderboards.records.entry import Entry
from leaderboards.stats.rank_intervals import rank_intervals

Make = Callable[..., Entry]


def right(count: int, of: int = 4) -> dict[str, list[float]]:
    return {f"test:{i}": [1.0 if i < count else 0.0] for i in range(of)}


def rows(entries: Sequence[Entry], *methods: str) -> list[Row]:
    by_name = {row.method: row for board in boards(entries) for row in board.rows}
    return [by_name[method] for method in methods]


def runs(make: Make, scores: dict[str, Sequence[int]], **more: Any) -> list[Entry]:
    return [
        make(right(n), method=method, seed=seed, **more)
        for method, counts in scores.items()
        for seed, n in enumerate(counts)
    ]


def test_seeds_are_paired_for_the_method_and_tasks_for_the_agent(make_entry: Make) -> None:
    entries = runs(make_entry, {"base": [1, 1, 2], "espl": [2, 3, 2]})
    found = compare(rows(entries, "base", "espl"))
    (contrast,) = found.contrasts
    expected = stats.ttest_rel([0.5, 0.75, 0.5], [0.25, 0.25, 0.5])
    assert contrast.method.value == pytest.approx(0.25)
    assert contrast.method.units == 3
    assert contrast.method.p == pytest.approx(expected.pvalue)
    # Task means over seeds: espl 1, 1, 1/3, 0; base 1, 1/3, 0, 0.
    by_task = stats.ttest_rel([1, 1, 1 / 3, 0], [1, 1 / 3, 0, 0])
    assert contrast.agent.value == pytest.approx(0.25)
    assert contrast.agent.units == 4
    assert contrast.agent.p == pytest.approx(by_task.pvalue)
    assert contrast.agent.interval is not None
    low = by_task.confidence_interval().low
    assert contrast.agent.interval.low == pytest.approx(max(-1, low))


def test_holm_counts_the_contrasts_that_were_named_and_no_others(make_entry: Make) -> None:
    entries = runs(make_entry, {"base": [1, 1, 2], "espl": [2, 3, 4], "rl": [1, 2, 2]})
    both = compare(rows(entries, "base", "espl", "rl")).contrasts
    one = compare(rows(entries, "base", "espl")).contrasts
    assert [c.row.method for c in both] == ["espl", "rl"]
    assert one[0].method.p == one[0].method.holm == both[0].method.p
    assert both[0].method.p is not None and both[1].method.p is not None
    assert both[0].method.holm == pytest.approx(2 * both[0].method.p)
    assert both[1].method.holm == pytest.approx(max(2 * both[0].method.p, both[1].method.p))


def test_different_tracks_are_refused_and_the_fields_named(make_entry: Make) -> None:
    entries = [make_entry(method="base"), make_entry(track={"max_tokens": 99, "grader": "2"})]
    with pytest.raises(TrackMismatch, match="max_tokens, grader") as error:
        compare(rows(entries, "base", "espl"))
    assert [d.field for d in error.value.differences] == ["max_tokens", "grader"]
    with pytest.raises(ValueError, match="two rows"):
        compare(rows(entries, "base"))


def test_mcnemar_needs_one_sample_and_one_agent_a_side(make_entry: Make) -> None:
    one = runs(make_entry, {"base": [1], "espl": [4]})
    (contrast,) = compare(rows(one, "base", "espl")).contrasts
    assert contrast.agent.test == "McNemar, exact, 3 against 0"
    assert contrast.agent.p == pytest.approx(0.25)
    assert (contrast.method.interval, contrast.method.reason) == (None, "1 seed")
    two = runs(make_entry, {"base": [1, 1], "espl": [4, 2]})
    (contrast,) = compare(rows(two, "base", "espl")).contrasts
    assert contrast.agent.test == "paired t, df 3"
    samples = [make_entry({"a": [1, 0], "b": [0, 0]}, method=m) for m in ("base", "espl")]
    (contrast,) = compare(rows(samples, "base", "espl")).contrasts
    assert "McNemar" not in contrast.agent.test


def test_worlds_of_a_family_meet_over_common_seeds_only(make_entry: Make) -> None:
    family = {"family": "calibration/both"}
    entries = [
        make_entry(right(1), method="base", seed=0, track=family),
        make_entry(right(4), method="espl", seed=1, track=family),
    ]
    (contrast,) = compare(rows(entries, "base", "espl")).contrasts
    assert contrast.agent.reason == "no common task"
    assert contrast.method.reason == "no common seed"
    (contrast,) = compare(rows(entries, "espl", "base")).contrasts
    plain = [
        make_entry(right(1), method="base", seed=0),
        make_entry(right(4), method="espl", seed=1),
    ]
    (contrast,) = compare(rows(plain, "base", "espl")).contrasts
    assert contrast.agent.value == pytest.approx(0.75)


def test_unscored_outcomes_bound_the_difference(make_entry: Make) -> None:
    # espl: 1 of 2 if wrong, 2 of 2 if right; base: 0 of 2. So the difference is 1/2 to 1.
    entries = [
        make_entry({"a": [0], "b": [0]}, method="base"),
        make_entry({"a": [1], "b": [None]}),
    ]
    (contrast,) = compare(rows(entries, "base", "espl")).contrasts
    assert contrast.bounds == (0.5, 1.0)
    (whole,) = compare(rows(runs(make_entry, {"base": [1], "espl": [2]}), "base", "espl")).contrasts
    assert whole.bounds is None


def test_few_seeds_and_warnings_of_rows_are_cautions(make_entry: Make) -> None:
    entries = runs(make_entry, {"base": [1, 2]}) + runs(make_entry, {"espl": [2, 2]}, notes=("x",))
    found = compare(rows(entries, "base", "espl"))
    assert found.cautions == (
        "2 common seeds: differences over training seeds are provisional",
        "espl: x",
    )


def test_a_bootstrap_over_few_seeds_is_refused(make_entry: Make) -> None:
    entries = runs(make_entry, {"base": [1, 1, 2], "espl": [2, 3, 2]})
    with pytest.raises(ValueError, match="bootstrap"):
        compare(rows(entries, "base", "espl"), by_bootstrap=True)


def test_ranks_stay_open_until_seeds_close_them() -> None:
    # Each row ten points up, with small noise of its own: every p is far below 0.05 / 3.
    noise = [[1, -2, 2, 0, -1], [-1, 0, 1, 2, -2], [0, 2, -2, -1, 1]]
    clear = [{s: 0.1 * r + noise[r][s] / 1000 for s in range(5)} for r in range(3)]
    assert rank_intervals(clear) == [(3, 3), (2, 2), (1, 1)]
    one_seed = [{0: 0.1}, {0: 0.9}]
    assert rank_intervals(one_seed) == [(1, 2), (1, 2)]
    assert rank_intervals([{0: 0.5}, {0: None}, {1: 0.5}]) == [(1, 2), None, (1, 2)]
    assert rank_intervals([]) == []


def test_holm_over_all_pairs_keeps_a_weak_order_open() -> None:
    # Alone, a and b differ with p = 0.030 (t of 3.3 at df 4); with c there are three pairs.
    a = {s: 0.5 + d for s, d in enumerate([0.01, 0.02, 0.03, 0.04, 0.07])}
    b = dict.fromkeys(range(5), 0.5)
    p = stats.ttest_rel(list(a.values()), list(b.values())).pvalue
    assert 0.05 / 3 < p < 0.05
    assert rank_intervals([a, b]) == [(1, 1), (2, 2)]
    c = {s: 0.5 + d for s, d in enumerate([0.05, -0.05, 0.04, -0.06, 0.03])}
    assert rank_intervals([a, b, c]) == [(1, 3), (1, 3), (1, 3)]


def test_blocks_of_rows_do_not_change_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows_ = [{s: 0.05 * r + ((7 * r * s) % 5) / 100 for s in range(6)} for r in range(9)]
    whole = rank_intervals(rows_)
    monkeypatch.setattr("leaderboards.stats.rank_intervals.FEW", 0)
    assert rank_intervals(rows_) == whole
    monkeypatch.setattr("leaderboards.stats.rank_intervals_numpy._BLOCK", 2)
    assert rank_intervals(rows_) == whole
    assert any(low == high for low, high in filter(None, whole))


def test_large_boards_have_the_ranks_that_small_ones_have(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(5)
    closed = 0
    for _ in range(30):
        # Seeds and scores are missing here and there, some rows are equal.
        drawn = [
            {
                seed: None if dice.random() < 0.1 else 0.3 * level + round(dice.gauss(0, 0.05), 2)
                for seed in range(8)
                if dice.random() < 0.8
            }
            for level in (0, 0, 1, 2, 2)
        ]
        drawn.append(dict(drawn[0]))
        monkeypatch.setattr("leaderboards.stats.rank_intervals.FEW", 40)
        few = rank_intervals(drawn)
        monkeypatch.setattr("leaderboards.stats.rank_intervals.FEW", 0)
        assert rank_intervals(drawn) == few
        closed += sum(low > 1 or high < 6 for low, high in filter(None, few))
    assert closed > 30


def test_boards_of_any_size_see_the_same_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(7)
    closed = 0
    for _ in range(100):
        drawn = [dict.fromkeys(range(5), 0.1 * level) for level in range(3)]
        for row in drawn:  # one seed alone, so that the range is over twice the deviation
            row[dice.randrange(5)] += dice.uniform(0.5, 1.5) * 1e-12
        monkeypatch.setattr("leaderboards.stats.rank_intervals.FEW", 40)
        few = rank_intervals(drawn)
        monkeypatch.setattr("leaderboards.stats.rank_intervals.FEW", 0)
        assert rank_intervals(drawn) == few
        closed += few == [(3, 3), (2, 2), (1, 1)]
    assert 0 < closed < 100
