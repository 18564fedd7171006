"""Rows, boards and contrasts, with numbers small enough to check by hand."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from leaderboards.boards.model import Row, track_differences
from leaderboards.boards.rank import boards, contrasts, paired
from leaderboards.records.entry import Entry
from leaderboards.stats.scores import result

Make = Callable[..., Entry]
ONE_IN_FOUR = {f"test:{i}": [1.0 if i == 0 else 0.0] for i in range(4)}
TWO_IN_FOUR = {f"test:{i}": [1.0 if i < 2 else 0.0] for i in range(4)}
THREE_IN_FOUR = {f"test:{i}": [1.0 if i < 3 else 0.0] for i in range(4)}


def only_row(*entries: Entry) -> Row:
    (board,) = boards(entries)
    (row,) = board.rows
    return row


def test_a_score_is_the_mean_over_tasks_of_their_means(make_entry: Make) -> None:
    # test:0 → (1 + 0) / 2, test:1 → 1; over both 3/4.
    assert result(make_entry({"a": [1, 0], "b": [1, 1]})).score == 0.75


def test_unscored_outcomes_are_left_out_and_bounded(make_entry: Make) -> None:
    # a → 1/2, b → 1 from the one sample that counts: 3/4. All four: 2/4 if wrong, 3/4 if right.
    row = only_row(make_entry({"a": [1, 0], "b": [None, 1]}))
    assert row.score == 0.75
    assert row.bounds == (0.5, 0.75)
    assert (row.unscored, row.outcomes) == (1, 4)


def test_truncated_outcomes_count_as_they_were_judged(make_entry: Make) -> None:
    entry = make_entry({"a": [1, 0], "b": [1, 1]})
    cut = replace(entry.outcomes[1], status="truncated")
    row = only_row(replace(entry, outcomes=(entry.outcomes[0], cut, *entry.outcomes[2:])))
    assert row.truncated == 1
    assert row.score == 0.75


def test_where_nothing_was_scored_there_is_no_score(make_entry: Make) -> None:
    (board,) = boards([make_entry({"a": [None]}), make_entry({"a": [0]}, method="base")])
    first, last = board.rows
    assert (first.method, first.rank, first.score) == ("base", 1, 0)
    assert (last.method, last.rank, last.score) == ("espl", None, None)
    assert last.bounds == (0.0, 1.0)
    assert last.item_estimate.reason == last.seed_estimate.reason == "nothing scored"


def test_a_seed_without_a_score_is_left_out_and_named(make_entry: Make) -> None:
    row = only_row(make_entry({"a": [None]}, seed=0), make_entry({"a": [1]}, seed=1))
    assert row.score == 1
    assert row.seed_estimate.units == 1
    assert "nothing was scored for seed 0; the mean leaves it out" in row.warnings


def test_this_agent_resamples_tasks(make_entry: Make) -> None:
    # Task means 1, 0, 0, 0: mean 1/4, sd 1/2, se 1/4, t(3) 3.182446: −0.5456 … 1.0456, clipped.
    estimate = only_row(make_entry(ONE_IN_FOUR)).item_estimate
    assert (estimate.estimand, estimate.units, estimate.value) == ("this agent", 4, 0.25)
    assert estimate.interval is not None
    assert (estimate.interval.low, estimate.interval.high) == (0, 1)


def test_this_agent_averages_samples_and_seeds_before_tasks(make_entry: Make) -> None:
    # Task means over seeds 1/2, 1/2, 0, 1: mean 1/2, variance 1/6, se √(1/24), t(3) 3.182446.
    entries = [
        make_entry({"a": [1], "b": [0], "c": [0], "d": [1]}, seed=0),
        make_entry({"a": [0], "b": [1], "c": [0], "d": [1]}, seed=1),
    ]
    interval = only_row(*entries).item_estimate.interval
    assert interval is not None
    assert interval.low == 0
    assert interval.high == pytest.approx(1.0)
    wide = [make_entry({str(i): [i] for i in range(4)}, seed=0)]  # rewards 0 … 3 are not clipped
    interval = only_row(*wide).item_estimate.interval
    assert interval is not None
    assert interval.low == pytest.approx(1.5 - 3.182446 * (5 / 12) ** 0.5, abs=1e-6)


@pytest.mark.parametrize(("reward", "low", "high"), [(0, 0, 0.561497), (1, 0.438503, 1)])
def test_where_all_outcomes_agree_wilson_speaks_over_tasks(
    make_entry: Make, reward: float, low: float, high: float
) -> None:
    # Three tasks of five samples each are three trials: z² / (3 + z²) = 0.561497.
    interval = only_row(make_entry({t: [reward] * 5 for t in "abc"})).item_estimate.interval
    assert interval is not None
    assert interval.kind == "wilson"
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-6)


def test_one_task_that_disagrees_with_itself_has_no_interval(make_entry: Make) -> None:
    estimate = only_row(make_entry({"a": [1, 0]})).item_estimate
    assert (estimate.interval, estimate.reason) == (None, "1 task")


def test_tasks_that_all_scored_alike_have_no_interval(make_entry: Make) -> None:
    estimate = only_row(make_entry({"a": [1, 0], "b": [0, 1]})).item_estimate
    assert (estimate.interval, estimate.reason) == (None, "no spread")


def test_this_method_has_seeds_as_its_unit(make_entry: Make) -> None:
    # Seeds' scores 1/4, 1/2, 3/4: mean 1/2, sd 1/4, t(2) 4.302653: ± 4.302653 · 0.25 / √3 = 0.6210.
    rewards = [ONE_IN_FOUR, TWO_IN_FOUR, THREE_IN_FOUR]
    row = only_row(*(make_entry(r, seed=i) for i, r in enumerate(rewards)))
    assert row.scores == ((0, 0.25), (1, 0.5), (2, 0.75))
    assert (row.seed_estimate.estimand, row.seed_estimate.units) == ("this method", 3)
    assert row.seed_estimate.interval is not None
    assert (row.seed_estimate.interval.low, row.seed_estimate.interval.high) == (0, 1)
    doubled = [
        make_entry({t: [4 * v[0]] for t, v in r.items()}, seed=i) for i, r in enumerate(rewards)
    ]
    interval = only_row(*doubled).seed_estimate.interval
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)


def test_one_seed_says_nothing_of_the_method(make_entry: Make) -> None:
    row = only_row(make_entry())
    assert (row.seed_estimate.interval, row.seed_estimate.reason) == (None, "1 seed")
    assert row.seed_estimate.value == row.score == 0.75


def test_fewer_than_five_seeds_are_provisional(make_entry: Make) -> None:
    entries = [make_entry(seed=seed) for seed in range(5)]
    assert only_row(*entries[:4]).provisional
    assert not only_row(*entries).provisional


def test_pass_at_k_uses_tasks_with_k_judged_samples(make_entry: Make) -> None:
    # k = 2: a has one right of two → 1, b none → 0, c has one judged sample only.
    row = only_row(make_entry({"a": [1, 0], "b": [0, 0], "c": [1, None]}))
    assert row.passes is not None
    assert (row.passes.k, row.passes.value, row.passes.tasks) == (2, 0.5, 2)


def test_pass_at_k_is_averaged_over_seeds(make_entry: Make) -> None:
    entries = [make_entry({"a": [1, 0]}, seed=0), make_entry({"a": [0, 0]}, seed=1)]
    passes = only_row(*entries).passes
    assert passes is not None and passes.value == 0.5


def test_one_sample_or_unknown_success_has_no_pass_at_k(make_entry: Make) -> None:
    assert only_row(make_entry({"a": [1]})).passes is None
    entry = make_entry()
    blind = tuple(replace(o, success=None) for o in entry.outcomes)
    assert only_row(replace(entry, outcomes=blind)).passes is None


def test_the_first_run_of_a_seed_counts_and_both_are_named(make_entry: Make) -> None:
    first = make_entry({"a": [0]})
    later = make_entry({"a": [1]})
    made = replace(later.provenance, created="2026-01-31T12:00:00.500+00:00")
    later = replace(later, provenance=made)
    row = only_row(later, first)
    assert row.score == 0
    assert row.entries == (first,)
    named = f"seed 0 was run 2 times ({first.id} and {later.id}); the first counts"
    assert row.warnings == (named,)


def test_a_copy_of_an_entry_is_no_second_run(make_entry: Make) -> None:
    row = only_row(make_entry(), make_entry())
    assert row.warnings == ()
    assert row.seeds == (0,)


def test_settings_make_rows_of_their_own_and_name_what_differs(make_entry: Make) -> None:
    slow = {"learning_rate": 1e-5, "loss": {"name": "ppo"}, "beta": 0}
    fast = {"learning_rate": 1e-4, "loss": {"name": "ppo"}}
    (board,) = boards([make_entry(config=slow), make_entry(config=fast), make_entry(method="base")])
    labels = {row.label for row in board.rows}
    assert labels == {
        "base",
        "espl (beta=0, learning_rate=1e-05)",
        "espl (beta=unset, learning_rate=0.0001)",
    }


def test_ranks_follow_scores_and_equal_scores_share_one(make_entry: Make) -> None:
    rewards = {
        "rl": TWO_IN_FOUR,
        "espl": THREE_IN_FOUR,
        "base": ONE_IN_FOUR,
        "evolution": TWO_IN_FOUR,
    }
    (board,) = boards([make_entry(r, method=m) for m, r in rewards.items()])
    assert [(r.rank, r.method) for r in board.rows] == [
        (1, "espl"),
        (2, "evolution"),
        (2, "rl"),
        (4, "base"),
    ]


@pytest.mark.parametrize(
    "change",
    [{"model": "pocket"}, {"budget_episodes": 960}, {"max_tokens": 255}, {"reduced": "laptop"}],
)
def test_two_tracks_never_share_a_board(make_entry: Make, change: dict[str, Any]) -> None:
    ours, theirs = make_entry(), make_entry(track=change, method="rl")
    made = boards([ours, theirs])
    assert [[r.method for r in b.rows] for b in made if b.track == ours.track] == [["espl"]]
    (difference,) = track_differences(ours.track, theirs.track)
    (name, value) = next(iter(change.items()))
    assert (difference.field, difference.there) == (name, value)
    assert difference.here == getattr(ours.track, name)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # it only makes entries
)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 2))))
def test_every_row_belongs_to_its_boards_track(make_entry: Make, runs: list[Any]) -> None:
    entries = [make_entry(track={"model": m}, method=x, seed=s) for m, x, s in runs]
    made = boards(entries)
    assert len({b.track for b in made}) == len(made) == len({m for m, _, _ in runs})
    for board, row in ((b, r) for b in made for r in b.rows):
        assert {e.track for e in row.entries} == {board.track}
        assert len(set(row.seeds)) == len(row.seeds)


def test_boards_do_not_depend_on_the_order_of_entries(make_entry: Make) -> None:
    entries = [
        make_entry(method="base", seed=0),
        make_entry(method="espl", seed=0),
        make_entry(method="espl", seed=1),
        make_entry(track={"model": "pocket"}),
    ]
    expected = boards(entries)
    for shuffled in itertools.permutations(entries):
        assert boards(shuffled) == expected


def test_contrasts_are_paired_over_common_seeds_as_scipy_does(make_entry: Make) -> None:
    learnt = [TWO_IN_FOUR, THREE_IN_FOUR, TWO_IN_FOUR]
    fixed = [ONE_IN_FOUR, ONE_IN_FOUR, TWO_IN_FOUR]
    entries = [make_entry(r, seed=i) for i, r in enumerate(learnt)]
    entries += [make_entry(r, seed=i, method="base") for i, r in enumerate(fixed)]
    entries.append(make_entry(ONE_IN_FOUR, seed=9))
    (board,) = boards(entries)
    (contrast,) = contrasts(board)
    assert (contrast.label, contrast.seeds) == ("espl − base", 3)
    expected = stats.ttest_rel([0.5, 0.75, 0.5], [0.25, 0.25, 0.5]).confidence_interval()
    assert contrast.value == pytest.approx(0.25)
    assert contrast.interval is not None
    # Differences 1/4, 1/2, 0: sd 1/4, so 1/4 ± 4.302653 · 0.25 / √3.
    assert contrast.interval.low == pytest.approx(0.25 - 0.6210345, abs=1e-6)
    assert contrast.interval.low == pytest.approx(expected.low)
    assert contrast.interval.high == pytest.approx(expected.high)


def test_a_contrast_over_one_seed_has_no_interval(make_entry: Make) -> None:
    (board,) = boards([make_entry(THREE_IN_FOUR), make_entry(ONE_IN_FOUR, method="base")])
    (contrast,) = contrasts(board)
    assert (contrast.value, contrast.interval, contrast.reason) == (0.5, None, "1 seed")


def test_rows_without_a_common_seed_have_no_contrast(make_entry: Make) -> None:
    (board,) = boards([make_entry(seed=0), make_entry(seed=1, method="base")])
    assert paired(*board.rows) is None
    assert contrasts(board) == ()


def test_without_base_rows_are_compared_with_rl_and_else_with_the_first_by_name(
    make_entry: Make,
) -> None:
    for methods, label in ((("rl", "espl"), "espl − rl"), (("gepa", "espl"), "gepa − espl")):
        (board,) = boards([make_entry(method=method) for method in methods])
        assert [c.label for c in contrasts(board)] == [label]
    (alone,) = boards([make_entry(method="espl")])
    assert contrasts(alone) == ()


def test_what_a_reader_must_know_is_a_warning(make_entry: Make) -> None:
    entry = make_entry(notes=("resumed once",))
    dirty = replace(entry.provenance, dirty=True, commit="fffffff")
    over = replace(entry.spent, episodes=481)
    row = only_row(entry, replace(entry, seed=1, provenance=dirty, spent=over))
    assert row.warnings == (
        "uncommitted code for seed 1",
        "the seeds ran on 2 different commits",
        "more episodes than the budget for seed 1",
        "resumed once",
    )


def test_costs_are_means_of_a_run(make_entry: Make) -> None:
    entry = make_entry()
    dear = replace(entry.spent, acting_tokens=54_000, seconds=106.5)
    cost = only_row(entry, replace(entry, seed=1, spent=dear)).cost
    assert (cost.acting_tokens, cost.seconds, cost.episodes) == (53_000, 100, 480)
