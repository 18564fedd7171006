"""Verdicts: the battery of `benchmarks.verdicts`, cases that were misjudged, and limits of time."""

import json
import os
import time
from pathlib import Path

import pytest

from envs.grading.answer_graders import GRADERS
from envs.grading.boxed_answer import last_boxed, objection
from envs.grading.mathematics.judge import judge, legible
from envs.grading.pool import shared_grader
from envs.grading.stated_answer import unwrapped
from envs.grading.thoughts import answer_part

HOME = Path(__file__).resolve().parents[2]
BATTERY = HOME / "benchmarks/verdicts/battery.jsonl"


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def cases() -> list[dict[str, str]]:
    """Cases beside the project, which are no part of it."""
    folders = [HOME.parent / "shared/cases"]
    if data := os.environ.get("HARNESS_DATA_DIR"):
        folders.append(Path(data).parent / "cases")
    for folder in folders:
        if (folder / "grading.jsonl").is_file():
            return rows(folder / "grading.jsonl")
    pytest.skip("not run: ../shared/cases is not there")


def misjudged(some: list[dict[str, str]]) -> list[tuple[str, ...]]:
    wrong: list[tuple[str, ...]] = []
    for case in some:
        grader = GRADERS[case["grader"]]
        assert grader.reads(case["reference"]), case
        verdict = grader.judge(case["reply"], case["reference"])
        if (verdict.outcome, verdict.success) != ("scored", case["right"] == "right"):
            wrong.append((case["kind"], case["reference"], case["reply"], verdict.feedback))
    return wrong


def test_no_pair_of_the_battery_is_misjudged():
    battery = rows(BATTERY)
    assert len(battery) >= 600
    assert {case["right"] for case in battery} == {"right", "wrong"}
    assert misjudged(battery) == []


def test_no_case_that_was_once_misjudged_is_misjudged():
    some = cases()
    assert len(some) >= 140
    assert misjudged(some) == []


def test_every_pinned_reference_is_read_and_right_in_all_its_renderings(real_data):
    grader, seen = GRADERS["math"], set()
    for name in ("math500", "hmmt_feb_2024", "hmmt_feb_2025", "hmmt_nov_2025", "aime_2025"):
        seen |= {str(row["answer"]) for row in rows(real_data / f"{name}.jsonl")}
    assert len(seen) > 300
    for answer in sorted(seen):
        assert legible(answer), answer
        for reply in grader.ways(answer):
            assert grader.judge(reply, answer).success, (answer, reply)


def test_any_of_several_accepted_answers_is_right():
    grader = GRADERS["contains"]
    accepted = "New York City\nNYC\nNew York"
    assert grader.judge("Answer: NYC", accepted).success
    assert grader.judge("Answer: New York", accepted).success
    assert not grader.judge("Answer: York", accepted).success
    assert grader.judge(grader.oracle(accepted), accepted).success
    assert GRADERS["math"].judge("\\boxed{3}", "2\n3").success


def test_a_reply_is_unscored_only_where_no_accepted_answer_is_right(monkeypatch):
    from envs.verdict import Verdict

    def compared(reply, answer):
        return Verdict.right() if answer == "3" else Verdict.unscored("it was killed")

    monkeypatch.setattr(shared_grader(), "grade", compared)
    assert GRADERS["math"].judge("\\boxed{3}", "2\n3").success
    assert GRADERS["math"].judge("\\boxed{3}", "2\n4").outcome == "unscored"


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("no thought", "no thought"),
        ("<think>a</think>b", "b"),
        ("a<think>b</think>c<think>d</think>e", "ace"),
        ("a</think>b", "b"),
        ("<think>a", ""),
        ("a<think>b", "a"),
        ("<thinking>a</thinking>b", "b"),
        ("[THINK]a[/THINK]b", "b"),
        ("<|channel|>analysis<|message|>a<|end|><|channel|>final<|message|>b", "b"),
        ("x < y and [1, 2]", "x < y and [1, 2]"),
    ],
)
def test_thoughts_are_no_part_of_an_answer(completion, answer):
    assert answer_part(completion) == answer


@pytest.mark.parametrize(
    "piece",
    ["{", "}", "(", "\\boxed{", "\\text{", "\\frac", "1,000,", "1 ", "-", "Answer: ", "**", "$",
     "^", "a and ", "not ", "A, ", "1/", "\\,", "<think>", "[THINK]", ". A", "9", "x_", "\\dot",
     "'", "é", "minus ", "of ", "B is ", "not B, ", " 1 and ", "all but ", "to "],
)  # fmt: skip
def test_readers_take_time_in_proportion_to_a_reply(piece):
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        began = time.process_time()
        for reply in (text, f"Answer: {text}", f"\\boxed{{{text}}}"):
            box = last_boxed(answer_part(reply)) or ""
            objection(box, "2")
            unwrapped(reply)
            judge(text[:4000], "2")
            for name in ("number", "choice", "contains", "exact"):
                GRADERS[name].judge(reply, "2" if name == "number" else "B")
        return time.process_time() - began

    seconds(1000)
    # CPU seconds: a machine a quarter as fast as a calm one must pass; quadratic work is 16 times.
    # On a busy machine one measurement may be slow by chance: quadratic work is so every time.
    for _ in range(3):
        quick, slow = seconds(10_000), seconds(40_000)
        if slow < 8 * quick + 0.3:
            break
    assert slow < 5.0
    assert slow < 8 * quick + 0.3
