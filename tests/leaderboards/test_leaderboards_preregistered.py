"""Contrasts written down beforehand: what each kind asks for, and what the file may say."""

from __future__ import annotations

import random
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

MORE = PreregisteredContrast("told", "more", "evolution", "base", "", 0.0)
WITHIN = PreregisteredContrast("told", "within", "espl", "", "evolution", 5.0)
SAME = PreregisteredContrast("neither", "equivalent", "", "", "base", 5.0)


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


def drawn(seed: int, gain: float, seeds: int = 10) -> dict[str, dict[int, float]]:
    """Scores where nothing can be learnt, but for a true gain of the third method."""
    chance = random.Random(seed)
    return {
        method: {s: 12.0 + true + chance.gauss(0, 3) for s in range(seeds)}
        for method, true in (("base", 0.0), ("rl", 0.0), ("espl", gain))
    }


def test_where_nothing_can_be_learnt_every_method_is_equivalent_to_base() -> None:
    held = sum(judge(SAME, drawn(seed, 0.0)).holds for seed in range(40))
    assert held >= 32


def test_a_true_gain_of_ten_points_breaks_the_equivalence() -> None:
    # The control that this replaces held for such a gain in five of six simulations.
    found = [judge(SAME, drawn(seed, 10.0)) for seed in range(40)]
    assert not any(one.holds for one in found)
    assert found[0].said.startswith("espl: +")
    assert not any(judge(SAME, drawn(seed, -10.0)).holds for seed in range(40))


def test_a_gain_at_the_margin_passes_as_seldom_as_the_level_says() -> None:
    assert sum(judge(SAME, drawn(seed, 5.0)).holds for seed in range(100)) <= 12


def test_equivalence_needs_evidence() -> None:
    assert not judge(SAME, drawn(0, 0.0, seeds=1)).holds
    assert not judge(SAME, {"base": {0: 1.0, 1: 2.0}}).holds
    assert not judge(SAME, {}).holds
    some = drawn(0, 0.0)
    some["espl"] = {0: 12.0}
    assert not judge(SAME, some).holds


def test_attempts_share_the_level(tmp_path: Path) -> None:
    # The 95 % interval of these is 2 ± 1.30, the 97.5 % one 2 ± 1.71, the 99.5 % one 2 ± 3.04.
    scores = paired(1.0, 2.0, 2.0, 3.0)
    once, twice, often = (judge(MORE, scores, 0.05 / n) for n in (1, 2, 10))
    assert (once.holds, twice.holds, often.holds) == (True, True, False)
    assert once.interval and twice.interval and once.interval.low > twice.interval.low
    assert "97.5 % paired t" in twice.said and " 95 % paired t" in once.said
    assert " 95 % paired t" in judge(WITHIN, scores, 0.025).said
    plan = read_plan(CALIBRATION)
    assert plan.attempts == 2
    (found, *_) = findings(plan, {"told": scores})
    assert "97.5 %" in found.said
    text = CALIBRATION.read_text()
    one = tmp_path / "one.toml"
    one.write_text(text.replace("attempts = 2\n", ""))
    assert read_plan(one).attempts == 1
    one.write_text(text.replace("attempts = 2", "attempts = 0"))
    with pytest.raises(RecordError, match="attempts"):
        read_plan(one)


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
