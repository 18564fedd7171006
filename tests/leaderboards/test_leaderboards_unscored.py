"""Unscored outcomes: they must not make a row look better, worse or decided."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from leaderboards.boards.compare import compare
from leaderboards.boards.formatting import contrast_line
from leaderboards.boards.model import Board
from leaderboards.boards.rank import boards, contrasts
from leaderboards.boards.render import as_json
from leaderboards.records.entry import Entry
from leaderboards.stats import rank_intervals as ranks_by_loop
from leaderboards.stats.rank_intervals import rank_intervals
from leaderboards.stats.rank_intervals_numpy import by_p
from leaderboards.stats.scores import result
from leaderboards.stats.unscored import (
    decided_p,
    difference_bounds,
    paired_differences,
    score_bounds,
)

Make = Callable[..., Entry]
Rewards = dict[str, list[float | None]]
TASKS = [f"test:{n:02}" for n in range(100)]


def drawn(seed: int, skill: float, method: str) -> Rewards:
    """One agent's rewards: task n is solved with probability skill · (1 − n / 100)."""
    chance = random.Random(f"{method} {seed}")
    return {
        task: [float(chance.random() < skill * (1 - n / 100)) for _ in range(2)]
        for n, task in enumerate(TASKS)
    }


def hidden(rewards: Rewards, tasks: list[str]) -> Rewards:
    return {t: [None] * len(v) if t in tasks else v for t, v in rewards.items()}


def board_of(make_entry: Make, **methods: list[Rewards]) -> Board:
    """A leaderboard with one run of each method for each list of rewards."""
    (board,) = boards(
        make_entry(rewards, method=method, seed=seed, config={"of": method})
        for method, runs in methods.items()
        for seed, rewards in enumerate(runs)
    )
    return board


def ranks(board: Board) -> dict[str, tuple[int, int] | None]:
    return {row.method: row.ranks for row in board.rows}


def test_two_equally_good_agents_stay_equal_if_the_hardest_tasks_of_one_are_unscored(
    make_entry: Make,
) -> None:
    base = [drawn(seed, 0.9, "base") for seed in range(10)]
    other = [hidden(drawn(seed, 0.9, "espl"), TASKS[-10:]) for seed in range(10)]
    board = board_of(make_entry, base=base, espl=other)
    # The scores alone differ by 4 points, because the hardest tasks are missing from one of them.
    scores = {row.method: row.score or 0.0 for row in board.rows}
    assert scores["espl"] - scores["base"] > 0.03
    (contrast,) = contrasts(board)
    assert abs(contrast.value) < 0.02
    assert contrast.interval is not None and contrast.interval.low < 0 < contrast.interval.high
    assert contrast.p is not None and contrast.p > 0.05
    assert contrast.bounds is not None and contrast.bounds[0] < 0 < contrast.bounds[1]
    assert ranks(board) == {"base": (1, 2), "espl": (1, 2)}
    assert {row.rank for row in board.rows} == {1}
    assert "for any reward of the unscored outcomes" in contrast_line(contrast, board.unit)
    found = compare([row for name in ("base", "espl") for row in board.rows if row.method == name])
    (one,) = found.contrasts
    assert one.method.value == contrast.value
    assert one.agent.value is not None and abs(one.agent.value) < 0.02
    assert one.bounds == pytest.approx(contrast.bounds)


def test_false_findings_stay_rare_whatever_is_unscored(make_entry: Make) -> None:
    wrong = ordered = 0
    for repeat in range(20):
        chance = random.Random(repeat)
        a = [drawn(s, 0.8, f"a{repeat}") for s in range(6)]
        b = [drawn(s, 0.8, f"b{repeat}") for s in range(6)]
        # Which tasks, and in which runs, is arbitrary: easy ones here, hard ones there.
        cut = [hidden(r, TASKS[-chance.randrange(1, 30) :]) for r in a]
        other = [hidden(r, TASKS[: chance.randrange(1, 30)]) for r in b]
        board = board_of(make_entry, base=cut, espl=other)
        (contrast,) = contrasts(board)
        wrong += contrast.p is not None and contrast.p <= 0.05
        ordered += ranks(board)["base"] != (1, 2)
    assert wrong <= 4
    assert ordered == 0


def test_an_order_that_no_reward_would_reverse_is_kept(make_entry: Make) -> None:
    weak = [drawn(seed, 0.3, "base") for seed in range(10)]
    strong = [hidden(drawn(seed, 0.9, "espl"), TASKS[:5]) for seed in range(10)]
    board = board_of(make_entry, base=weak, espl=strong)
    assert ranks(board) == {"espl": (1, 1), "base": (2, 2)}
    assert {row.method: row.rank for row in board.rows} == {"espl": 1, "base": 2}


def test_a_difference_within_the_bounds_is_not_an_order(make_entry: Make) -> None:
    # 6 points apart over the scored tasks, but 20 of 100 tasks are unscored.
    weak = [drawn(seed, 0.80, "base") for seed in range(30)]
    strong = [hidden(drawn(seed, 0.95, "espl"), TASKS[40:60]) for seed in range(30)]
    board = board_of(make_entry, base=weak, espl=strong)
    (contrast,) = contrasts(board)
    assert contrast.p is not None and contrast.p < 0.001
    assert ranks(board) == {"espl": (1, 2), "base": (1, 2)}


def test_a_run_without_any_score_may_be_the_best_or_the_worst(make_entry: Make) -> None:
    base = [drawn(seed, 0.5, "base") for seed in range(3)]
    lost = [drawn(seed, 0.9, "espl") for seed in range(2)]
    lost.append(hidden(drawn(2, 0.9, "espl"), TASKS))
    board = board_of(make_entry, base=base, espl=lost)
    runs = {row.method: row.runs for row in board.rows}
    assert len(paired_differences(runs["espl"], runs["base"])) == 2
    bounds = difference_bounds(runs["espl"], runs["base"], (0.0, 1.0))
    assert bounds is not None and bounds[1] - bounds[0] == pytest.approx(1 / 3)
    order = decided_p(runs["espl"], runs["base"], (0.0, 1.0))
    assert order is None or order[0] > 0.05


def test_bounds_are_by_hand(make_entry: Make) -> None:
    run = result(make_entry({"a": [1.0, None], "b": [0.0, None]}))
    assert score_bounds(run, (0.0, 1.0)) == (0.25, 0.75)
    assert score_bounds(run, (-1.0, 3.0)) == (-0.25, 1.75)
    whole = result(make_entry({"a": [1.0, 1.0], "b": [0.0, 0.0]}))
    assert score_bounds(whole, (0.0, 1.0)) == (0.5, 0.5)
    assert paired_differences({0: run}, {0: whole}) == [0.0]
    part = result(make_entry({"a": [None, None], "b": [1.0, 0.0]}))
    # Over b alone, the task that both have scored.
    assert paired_differences({0: part}, {0: whole}) == [0.5]
    none = result(make_entry({"a": [None, None], "b": [None, None]}))
    assert paired_differences({0: none}, {0: whole}) == []


def test_rewards_outside_of_the_unit_interval_are_bounded_by_those_seen(make_entry: Make) -> None:
    low: list[Rewards] = [{"a": [-5.0 + 0.1 * s], "b": [0.0]} for s in range(5)]
    high: list[Rewards] = [{"a": [None], "b": [0.2]} for s in range(5)]
    board = board_of(make_entry, base=low, espl=high)
    assert not board.unit
    assert ranks(board) == {"espl": (1, 2), "base": (1, 2)}
    (contrast,) = contrasts(board)
    assert contrast.bounds == pytest.approx(((0.2 - 5) / 2 + 2.4, 0.6 + 2.4))


def test_items_are_paired_by_seed_and_task(make_entry: Make) -> None:
    # Seed 0 solves task a, seed 1 does not, in both rows; seed 0 of the second lost it.
    first: list[Rewards] = [{"a": [1.0], "b": [1.0]}, {"a": [0.0], "b": [0.0]}]
    second: list[Rewards] = [{"a": [None], "b": [1.0]}, {"a": [0.0], "b": [0.0]}]
    board = board_of(make_entry, base=first, espl=second)
    found = compare([row for name in ("base", "espl") for row in board.rows if row.method == name])
    # By task alone, a would be 0.5 on one side and 0 on the other.
    assert found.contrasts[0].agent.value == 0.0


def test_many_rows_are_ranked_like_few(make_entry: Make, monkeypatch: Any) -> None:
    chance = random.Random(3)
    runs, scores = [], []
    for row in range(12):
        mine = {}
        for seed in range(8):
            cut = chance.sample(TASKS, chance.choice([0, 0, 3, 9]))
            rewards = hidden(drawn(seed, 0.2 + 0.06 * row, f"m{row}"), cut)
            mine[seed] = result(make_entry(rewards, seed=seed))
        if row == 5:
            del mine[2]
        runs.append(mine)
        scores.append({seed: run.score for seed, run in mine.items()})
    few = rank_intervals(scores, runs=runs)
    assert len(set(few)) > 3 and few != rank_intervals(scores)
    monkeypatch.setattr(ranks_by_loop, "FEW", 0)
    monkeypatch.setattr("leaderboards.stats.rank_intervals_numpy._BLOCK", 5)
    assert rank_intervals(scores, runs=runs) == few
    for p, better, worse in by_p(scores, 0.05, runs):
        expected = decided_p(runs[better], runs[worse], (0.0, 1.0))
        assert expected is not None and expected[1]
        assert p == pytest.approx(expected[0], rel=1e-6)


def test_equal_tokens_are_compared_over_tasks_that_all_have_scored(make_entry: Make) -> None:
    full: Rewards = {"easy": [1.0], "hard": [0.0]}
    part: Rewards = {"easy": [1.0], "hard": [None]}
    (board,) = boards(
        make_entry(rewards, method=method, seed=seed, config={"of": method})
        for method, rewards in (("rl", full), ("espl", part))
        for seed in range(3)
    )
    (one,) = board.at_tokens
    assert one.value == 0.0


def test_all_scored_rows_have_no_bounds(make_entry: Make) -> None:
    runs: list[Rewards] = [drawn(seed, 0.5, "base") for seed in range(3)]
    board = board_of(make_entry, base=runs, espl=[drawn(s, 0.6, "espl") for s in range(3)])
    (contrast,) = contrasts(board)
    assert contrast.bounds is None
    # Files of numbers that were published before hold no such field, and stay right.
    assert "bounds" not in as_json([board])["boards"][0]["contrasts"][0]
    cut = board_of(make_entry, base=runs, espl=[hidden(r, TASKS[:9]) for r in runs])
    assert len(as_json([cut])["boards"][0]["contrasts"][0]["bounds"]) == 2
