"""Whole numbers are judged without a worker, and as the workers judge them."""

import json
import random
import time

import pytest

from envs.grading.boxed_answer import both_whole
from envs.grading.pool import Grader
from envs.verdict import Verdict

NOT_WHOLE = [
    "007", "+7", "-0", "7.", "7.0", ".7", "7e0", "1,000", "1 000", "1\\,000", "٧", "７", "²",
    "7\n", "1_000", "0x7", "--7", "- 7", "−7", "7%", "7!", "{7}", "\\text{7}", "1" * 16, "", " ",
    "inf", "nan", "True",
]  # fmt: skip
EDGES = [
    "0", "1", "-1", "7", "-7", "10", "100", "1000000", "1000001", "-1000001", "123456789",
    "999999999999998", "999999999999999", "-999999999999999", "100000000000000", "100000000000001",
]  # fmt: skip


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1) as pool:
        yield pool


def by_a_worker(grader: Grader, box: str, answer: str) -> Verdict:
    """What the worker says, past the short cut."""
    said = grader._ask(box, answer, 60)
    return Verdict.right() if said["right"] else Verdict.wrong()


def agree(grader: Grader, box: str, answer: str) -> None:
    assert both_whole(box, answer)
    quick = grader.grade(f"\\boxed{{{box}}}", answer)
    slow = by_a_worker(grader, box, answer)
    assert (quick.outcome, quick.success) == (slow.outcome, slow.success), (box, answer)


@pytest.mark.parametrize("text", NOT_WHOLE)
def test_only_plain_whole_numbers_are_taken(text: str) -> None:
    assert not both_whole(text, "7")
    assert not both_whole("7", text)


def test_edges_and_neighbours_agree_with_the_workers(grader: Grader) -> None:
    for answer in EDGES:
        for box in EDGES:
            agree(grader, box, answer)


def test_random_numbers_and_near_misses_agree_with_the_workers(grader: Grader) -> None:
    source = random.Random(0)
    for _ in range(100):
        answer = source.randrange(-(10 ** source.randrange(1, 15)), 10 ** source.randrange(1, 15))
        for box in (answer, answer + 1, answer - 1, -answer, answer * 10):
            if both_whole(str(box), str(answer)):
                agree(grader, str(box), str(answer))


def test_no_worker_is_asked_for_a_whole_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with Grader(workers=1) as pool:
        monkeypatch.setattr(pool, "_ask", lambda *_: pytest.fail("a worker was asked"))
        assert pool.grade("So \\boxed{42}.", "42").success
        assert not pool.grade("So \\boxed{43}.", " 42\n").success
        assert "does not equal" in pool.grade("\\boxed{43}", "42").feedback


def test_whole_numbers_are_graded_in_no_time() -> None:
    reply = "We add the numbers and find that " * 20 + "\\boxed{42}."
    with Grader(workers=1) as pool:
        rates = []
        for _ in range(3):
            began = time.process_time()
            for _ in range(2000):
                pool.grade(reply, "42")
            rates.append(2000 / (time.process_time() - began))
    assert max(rates) > 10_000  # `make bench` holds it to 20,000


def test_math_500_agrees(grader: Grader, real_data) -> None:
    rows = (real_data / "math500.jsonl").read_text(encoding="utf-8").splitlines()
    whole = [a for a in (json.loads(row)["answer"] for row in rows) if both_whole(a, a)]
    assert len(whole) > 200
    for answer in whole:
        for box in (answer, str(int(answer) + 1), str(-int(answer))):
            if both_whole(box, answer):
                agree(grader, box, answer)
