"""Contrasts written down beforehand: what each kind asks for, and what the file may say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from leaderboards.records.strict_json import RecordError
from leaderboards.stats.preregistered import (
    CALIBRATION,
    PreregisteredContrast,
    findings,
    judge,
    read_plan,
)

MORE = PreregisteredContrast("told", "more", "evolution", "base", "", 0.0, 0)
WITHIN = PreregisteredContrast("told", "within", "espl", "", "evolution", 5.0, 0)
NULL = PreregisteredContrast("neither", "null", "", "", "base", 0.0, 400)


def paired(*differences: float) -> dict[str, dict[int, float]]:
    """Scores of a world in which these are evolution − base, and espl − evolution."""
    base = {seed: 10.0 + seed for seed in range(len(differences))}
    evolution = {s: base[s] + d for s, d in enumerate(differences)}
    espl = {s: evolution[s] + d for s, d in enumerate(differences)}
    return {"base": base, "evolution": evolution, "espl": espl}


def test_more_holds_where_the_paired_interval_lies_above_zero() -> None:
    # mean 2, sd 1, n = 4: the 95 % interval is 2 ± 3.182 · 0.5
    found = judge(MORE, paired(1.0, 2.0, 2.0, 3.0))
    assert found.interval is not None
    assert found.holds
    assert found.interval.low == pytest.approx(2 - 3.18245 * (2 / 3) ** 0.5 / 2, abs=1e-4)
    assert not judge(MORE, paired(-3.0, 2.0, 2.0, 3.0)).holds


def test_a_difference_that_is_only_large_on_average_does_not_hold() -> None:
    assert not judge(MORE, paired(0.0, 0.0, 0.0, 60.0)).holds


def test_within_needs_the_whole_interval_inside_the_margin() -> None:
    assert judge(WITHIN, paired(1.0, -1.0, 1.5, -1.5)).holds
    assert not judge(WITHIN, paired(9.0, 8.0, 9.0, 8.0)).holds
    assert not judge(WITHIN, paired(12.0, -12.0, 12.0, -12.0)).holds


def test_at_least_forgives_being_better_but_not_being_worse() -> None:
    at_least = replace(WITHIN, kind="at least")
    assert judge(at_least, paired(9.0, 8.0, 9.0, 8.0)).holds
    assert not judge(at_least, paired(-9.0, -8.0, -9.0, -8.0)).holds


def test_one_seed_or_no_spread_proves_nothing() -> None:
    one = judge(MORE, paired(5.0))
    assert (one.holds, one.said) == (False, "needs two seeds or more")
    assert judge(MORE, paired(5.0, 5.0, 5.0)).said == "no spread over seeds"
    assert not judge(MORE, {}).holds


def test_differences_are_taken_over_common_seeds_only() -> None:
    scores = paired(1.0, 2.0, 2.0, 3.0)
    scores["base"][9] = 0.0
    assert judge(MORE, scores).seeds == 4


def test_shuffled_labels_are_called_different_at_most_at_the_stated_rate() -> None:
    # Whatever the methods scored, shuffling makes them exchangeable.
    scores = {m: {s: 10.0 * s + 7.0 * i for s in range(10)} for i, m in enumerate("abc")}
    found = judge(replace(NULL, of="a"), scores)
    assert found.value is not None
    assert found.holds
    assert 0.0 < found.value < 0.09


def test_the_registered_file_is_about_all_four_worlds() -> None:
    plan = read_plan(CALIBRATION)
    assert plan.worlds == ("told", "shown", "both", "neither")
    assert plan.episodes == 1600
    both = [c.claim for c in plan.contrast if c.world == "both"]
    assert both == ["espl > rl", "espl > evolution"]


def test_only_worlds_with_scores_are_judged() -> None:
    plan = read_plan(CALIBRATION)
    assert {f.contrast.world for f in findings(plan, {"told": paired(1.0, 2.0)})} == {"told"}


@pytest.mark.parametrize(
    ("text", "named"),
    [("name = 1", "episodes"), ("[[", "cannot be read"), ('kind = "less"', "kind")],
)
def test_a_wrong_file_is_refused_by_field(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(RecordError, match=named):
        read_plan(path)
