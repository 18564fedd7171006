"""Student's t against SciPy, which boards do without because it is slow to import."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from leaderboards.stats.paired import mcnemar
from leaderboards.stats.student_t import critical, two_sided, two_sided_each

DEGREES = (1, 2, 3, 4, 7, 9, 19, 30, 99, 499, 10_000)
HOME = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("df", DEGREES)
def test_the_tail_is_scipys_from_the_middle_to_where_nothing_is_left(df: int) -> None:
    # SciPy itself is wrong by 4e-9 at df 1 below 1e-8, so that it is asked from 1e-6 on.
    ratios = np.concatenate([[0.0], np.geomspace(1e-6, 35, 400), [1e6]])
    expected = 2 * stats.t.sf(ratios, df)
    there = expected > 1e-290
    found = np.array([two_sided(float(ratio), df) for ratio in ratios])
    assert found[0] == 1
    assert np.allclose(found[there], expected[there], rtol=1e-9, atol=0)
    assert np.all(np.diff(found[there]) <= 1e-14)
    assert np.allclose(two_sided_each(ratios, df), found, rtol=1e-13, atol=0)


def test_the_tail_of_one_and_two_degrees_is_known_in_closed_form() -> None:
    for ratio in (0.1, 1.0, 12.706, 1e5):
        cauchy = 2 * math.atan(1 / ratio) / math.pi
        assert two_sided(ratio, 1) == pytest.approx(cauchy, rel=1e-13)
        root = math.sqrt(2 + ratio * ratio)
        assert two_sided(ratio, 2) == pytest.approx(2 / (root * (root + ratio)), rel=1e-13)


@pytest.mark.parametrize("df", [1, 3, 10_000])
def test_nothing_is_left_of_the_tail_where_the_ratios_square_overflows(df: int) -> None:
    ratios = np.array([1.0, 1.3e154, 1.35e154, 1e300, math.inf])
    found = [two_sided(float(ratio), df) for ratio in ratios]
    assert found[2:] == [0, 0, 0] and found[0] > 0.3
    assert list(two_sided_each(ratios, df)) == pytest.approx(found, rel=1e-13, abs=0)


@pytest.mark.parametrize("df", DEGREES)
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99, 0.9999])
def test_the_critical_ratio_is_scipys(df: int, level: float) -> None:
    assert critical(level, df) == pytest.approx(stats.t.ppf((1 + level) / 2, df), rel=1e-10)
    assert critical(0.0, df) == 0


@pytest.mark.parametrize("level", [1.0, -0.1, 1.5, math.nan])
def test_a_level_that_no_interval_has_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="the level must be at least 0 and below 1"):
        critical(level, 3)


@pytest.mark.parametrize(("less", "more"), [(0, 1), (3, 40), (49, 51), (480, 520), (900, 3000)])
def test_mcnemar_is_scipys_binomial_test(less: int, more: int) -> None:
    expected = stats.binomtest(less, less + more).pvalue
    assert mcnemar(less, more) == mcnemar(more, less) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("verb", [("leaderboard",), ("compare", "base", "espl", "--in")])
def test_boards_of_few_rows_start_without_scipy_and_numpy(verb: tuple[str, ...]) -> None:
    results = HOME / "leaderboards/results/e5cc2023282a"
    code = (
        "import contextlib, io, json, sys\nfrom harness.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as said:\n"
        f"    ended = main({[*verb, str(results)]!r})\n"
        "slow = [m for m in ('numpy', 'scipy', 'torch') if m in sys.modules]\n"
        "print(json.dumps([ended, len(said.getvalue()) > 500, slow]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [0, True, []]
