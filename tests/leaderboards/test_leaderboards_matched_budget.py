"""Rows on the same footing: the same seeds, and the same number of sampled tokens."""

from dataclasses import replace

import pytest

from leaderboards.boards.common_seeds import common_seed_scores
from leaderboards.boards.formatting import tokens_line
from leaderboards.boards.matched_budget import at
from leaderboards.boards.rank import boards
from leaderboards.boards.remarks import board_remarks
from leaderboards.records.provenance import Spent

LINE = ((0.0, 0.1), (100.0, 0.3), (400.0, 0.9))


@pytest.fixture
def run(make_entry):
    """`run(method, seed, score in quarters, tokens, budget)`."""

    def make(method, seed, right, tokens, budget=480, reflecting=0):
        rewards = {"test:0": [right > 0, right > 1], "test:1": [right > 2, right > 3]}
        rewards = {task: [float(r) for r in row] for task, row in rewards.items()}
        spent = Spent(budget, tokens - reflecting, reflecting, 160, 4, 16, 9.0)
        return make_entry(
            rewards, track={"budget_episodes": budget}, method=method, seed=seed, spent=spent
        )

    return make


def test_between_points_the_score_is_on_the_straight_line():
    assert at(LINE, 0) == 0.1
    assert at(LINE, 50) == pytest.approx(0.2)
    assert at(LINE, 250) == pytest.approx(0.6)
    assert at(LINE, 400) == 0.9


def test_beyond_the_last_point_only_a_little_is_known():
    assert at(LINE, 419) == 0.9
    assert at(LINE, 421) is None
    assert at(((100.0, 0.3),), 96) == 0.3
    assert at(((100.0, 0.3),), 90) is None
    assert at(((0.0, 0.3),), 1) is None  # nothing was sampled: nothing is near


def test_a_row_meets_the_reference_at_its_own_tokens_seed_by_seed(run):
    entries = [
        *(run("rl", s, 1, 100) for s in (0, 1, 2)),
        *(run("rl", s, 3 if s else 2, 300, budget=960) for s in (0, 1, 2)),
        *(run("espl", s, 4, 200, reflecting=100) for s in (0, 1, 2)),
    ]
    first, longer = boards(entries)
    (one,) = first.at_tokens
    # rl at 200 tokens: halfway from 1/4 to 2/4 for seed 0, to 3/4 for the others; espl has 4/4.
    assert one.value == pytest.approx((1 - 0.375 + 2 * (1 - 0.5)) / 3)
    assert (one.label, one.tokens, one.seeds) == ("espl − rl", 200, 3)
    assert one.value is not None and one.interval is not None
    assert one.interval.low < one.value < one.interval.high <= 1
    assert longer.at_tokens == ()
    assert tokens_line(one, True).startswith("espl − rl at 200 tokens: +54.2 [")


def test_what_was_never_run_is_not_known_and_says_what_to_run(run):
    entries = [run(m, s, 1, t) for s in (0, 1) for m, t in (("rl", 100), ("espl", 200))]
    (one,) = boards(entries)[0].at_tokens
    assert one.value is None
    assert "unknown (rl sampled 100 at most with seed 0; run it with more --episodes)" in (
        tokens_line(one, True)
    )


def test_base_is_where_the_reference_starts_and_is_no_contrast(run):
    entries = [
        *(run("base", s, 0, 0, budget=480) for s in (0, 1)),
        *(run("rl", s, 4, 200) for s in (0, 1)),
        *(run("evolution", s, 4 - s, 100) for s in (0, 1)),
    ]
    (one,) = boards(entries)[0].at_tokens
    assert one.label == "evolution − rl"
    assert one.value == pytest.approx(0.875 - 0.5)


def test_without_one_row_of_the_reference_there_is_none(run):
    other = replace(run("rl", 0, 2, 100), config={"learning_rate": 0.5})
    assert boards([run("espl", 0, 1, 10)])[0].at_tokens == ()
    assert boards([run("rl", 0, 1, 10), other, run("espl", 0, 1, 9)])[0].at_tokens == ()


def test_rows_of_different_seeds_are_told_over_those_in_common(run):
    entries = [run("rl", s, 1 if s < 2 else 4, 100) for s in range(4)]
    entries += [run("espl", s, 2, 100) for s in range(2)]
    (board,) = boards(entries)
    assert common_seed_scores(board) == ((0, 1), (("espl", 0.5), ("rl", 0.25)))
    assert board_remarks(board) == [
        "rows have different seeds; scores over the 2 common ones: espl 50.0, rl 25.0"
    ]
    (same,) = boards(entries[:2] + entries[4:])
    assert common_seed_scores(same) is None
    assert board_remarks(same) == []
