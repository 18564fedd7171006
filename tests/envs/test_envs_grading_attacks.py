"""Replies that would be graded right without saying the answer, or keep the grader from grading."""

import time

import pytest

from envs.grading.boxed_answer import LONGEST_BOX, enormous, last_boxed, objection
from envs.grading.pool import Grader

HEDGES = [
    "1, 2, 3", "2, 3", "3, 2", "2; 3", "2 \\text{ or } 3", "1 or 2", "2 \\vee 3", "2 \\lor 3",
    "\\{1, 2, 3\\}", "(1, 2)", "[1, 2]", "[0, 10]", "(-\\infty, \\infty)", "\\mathbb{R}",
    "1 < x < 3", "x \\ge 2", "x > 1", "\\{x \\mid 0 < x < 9\\}", "x \\in \\{1, 2\\}",
    "\\pm 2", "2 \\pm 1", "1 \\mid 2", "2 \\to 3", "2:3", "2 \\\\ 3", "2 \\quad 3", "2$ $3",
    "\\text{2 or 3}", "\\text{any}", "\\text{any number}", "\\text{True}", "True", "n", "\\forall",
    "\\begin{cases} 1 \\\\ 2 \\end{cases}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}",
    "1 \\boxed{2}", "1, \\boxed{2}", "\\boxed{1} \\boxed{2}", "2 \\ldots", "2, 3, \\dots",
    "1,...,9",
]  # fmt: skip
FALSE = [
    "1 = 2", "3 = 2", "0 = 2", "3 = 1 = 2", "3 = x = 2", "1 + 1 = 3", "2 \\approx 3", "2 ≈ 3",
    "7 \\equiv 2", "0.2\\%", "3 \\%", "20%", "\\frac{4}{20}\\%", "2_{5}", "2_5",
    "2 \\neq 3", "x = 3", "\\text{not } 3", "-2", "\\neg 2", "2.000001", "1.999",
]  # fmt: skip
UNFINISHED = [
    "\\sum_{i=1}^{2} 1", "\\prod_{k=1}^{2} k", "\\int_0^2 dx", "\\lim_{x \\to 2} x", "\\gcd(2, 4)",
    "\\operatorname{lcm}(1, 2)", "\\max(1, 2)", "\\min\\{2, 3\\}", "\\lfloor 2.5 \\rfloor",
    "\\lceil 1.5 \\rceil", "17 \\bmod 5", "17 \\mod 5", "17 \\pmod 5",
    "\\det \\begin{pmatrix} 2 & 0 \\\\ 0 & 1 \\end{pmatrix}", "\\frac{d}{dx} 2x", "⌊2.5⌋",
]  # fmt: skip
FOREIGN = ["٢", "²", "②", "Ⅱ", "২", "\u202e2\u202c3", "2\u200b3", "two", "\\mathrm{II}"]
ENORMOUS = [
    "9^{9^{9}}", "9^9^9^9", "10^{10^{10}}", "2^{2^{20}}", "2^{-10^{10}}", "10^{100000000}",
    "10^{100{,}000{,}000}", "(10^{8})^{10^8}", "1000000!", "3!!!!", "\\binom{10^9}{10^8}",
    "(x + 1)^{9999}", "(a + b + c)^{200}", "^".join("2" * 60),
]  # fmt: skip


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1) as pool:
        yield pool


@pytest.mark.parametrize("box", [*HEDGES, *FALSE, *UNFINISHED, *FOREIGN, *ENORMOUS])
def test_what_does_not_say_two_is_not_graded_as_two(grader, box):
    verdict = grader.grade(f"So it is \\boxed{{{box}}}.", "2")
    assert (verdict.outcome, verdict.reward, verdict.success) == ("scored", 0.0, False)


@pytest.mark.parametrize(
    ("box", "answers"),
    [("1 = 2", ("1", "2")), ("2 \\approx 3", ("2", "3")),
     ("2, 3", ("2", "3")), ("\\pm 2", ("2", "-2")), ("2 \\text{ or } 3", ("2", "3"))],
)  # fmt: skip
def test_no_box_is_right_for_two_numbers(grader, box, answers):
    assert sum(grader.grade(f"\\boxed{{{box}}}", a).reward for a in answers) <= 1


@pytest.mark.parametrize(
    ("box", "answer"),
    [
        ("x = 2", "2"), ("1 + 1 = 2", "2"), ("\\frac{4}{2} = 2", "2"),
        ("50\\%", "0.5"), ("50\\%", "50\\%"), ("204_5", "204_5"), ("2^{2^{10}}", "2^{1024}"),
        ("\\sqrt{2} \\approx 1.414", "\\sqrt{2}"), ("\\lfloor x \\rfloor", "\\lfloor x \\rfloor"),
        ("2^{25} \\cdot 26!", "2^{25} \\cdot 26!"), ("100!^{2}", "100!^{2}"),
        ("\\frac{4^{2024}}{\\binom{4048}{2024}}-2", "\\frac{4^{2024}}{\\binom{4048}{2024}}-2"),
        ("1 - \\frac{2}{\\pi}", "1-\\frac{2}{\\pi}"), ("14 + 4\\sqrt{37}", "14+4\\sqrt{37}"),
    ],
)  # fmt: skip
def test_answers_that_say_it_stay_right(grader, box, answer):
    assert grader.grade(f"\\boxed{{{box}}}", answer).success


@pytest.mark.parametrize(
    "reply",
    [
        "The briefing says: give the final answer in \\boxed{}.",
        "Problem: what is 1 + 1? Is it 2? \\boxed{?}",
        "\\boxed{2} is what I was told to say, but \\boxed{3}",
        "\\boxed{3} \\text{\\boxed{2",
        "\\fbox{2} $2$ Answer: 2",
        "<think>\\boxed{2}</think> \\boxed{}",
        "2" * 1_000_000,
        "\\boxed{" + "9" * 1_000_000 + "}",
        "\\boxed{" * 150_000 + "2" + "}" * 150_000 + "3}",
        "{" * 1_000_000,
        "\\boxed{" + "(" * 500_000,
    ],
)
def test_echoes_and_megabytes_earn_nothing_and_take_no_time(grader, reply):
    began = time.monotonic()
    verdict = grader.grade(reply, "2")
    assert time.monotonic() - began < 10
    assert (verdict.outcome, verdict.reward) == ("scored", 0.0)


def test_a_long_box_is_not_read_at_all():
    assert len(last_boxed("\\boxed{" + "9" * 1_000_000 + "}")) == LONGEST_BOX + 1


def test_what_the_reference_itself_uses_is_not_objected_to():
    assert objection("\\sum_{k=1}^n k", "\\sum_{k=1}^n k^1") == ""
    assert objection("9^{9^9}", "9^{9^9}") == ""
    assert not enormous("x^{2^n}")
    assert enormous("10^(10^10)")
