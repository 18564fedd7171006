import pytest

import envs
from envs.arithmetic import problems, stated_number

SPLITS = ("train", "validation", "test")


def operands(problem):
    return len([w for w in problem.text.removeprefix("What is ").split() if w not in "+-*"])


def test_sizes_are_what_is_promised():
    assert {s: len(problems(s)) for s in SPLITS} == {"train": 328, "validation": 100, "test": 200}
    assert dict(envs.describe("arithmetic").sizes) == {s: len(problems(s)) for s in SPLITS}


def test_training_is_short_and_half_of_the_test_is_longer():
    assert {operands(p) for s in ("train", "validation") for p in problems(s)} == {2}
    assert sorted(operands(p) for p in problems("test")) == [2] * 100 + [3] * 100


def test_every_reference_answer_is_the_value_of_its_expression():
    for split in SPLITS:
        for problem in problems(split):
            words = problem.text.removeprefix("What is ").removesuffix("?").split()
            value = int(words[0])
            for sign, number in zip(words[1::2], words[2::2], strict=True):
                value = {
                    "+": value + int(number),
                    "-": value - int(number),
                    "*": value * int(number),
                }[sign]
            assert str(value) == problem.answer
            assert value >= 0


def test_no_expression_is_in_two_splits():
    ids = [p.id for s in SPLITS for p in problems(s)]
    assert len(set(ids)) == len(ids) == 628


def test_no_sum_or_product_is_in_another_split_the_other_way_round():
    seen: dict[tuple[str, ...], str] = {}
    for split in SPLITS:
        for problem in problems(split):
            parts = problem.text.removeprefix("What is ").rstrip("?").split()
            if len(parts) == 3 and parts[1] in "+*":
                key = (parts[1], *sorted((parts[0], parts[2])))
                assert seen.setdefault(key, split) == split


def test_tasks_are_pinned():
    env = envs.make("arithmetic", "test")
    assert [env.task(i).text for i in range(3)] == [
        "What is 2 + 7 - 4?",
        "What is 7 + 6 + 9?",
        "What is 3 + 9 - 9?",
    ]
    assert env.fingerprint() == "fd8435d10d156c45e64dde032636c7747159210317353e80f457e371681602d7"


@pytest.mark.parametrize(
    ("reply", "number"),
    [
        ("12", "12"),
        ("7 + 5 = 12", "12"),
        ("The answer is 12.", "12"),
        ("Answer: 12", "12"),
        ("**Answer:** 12", "12"),
        ("answer: 7 + 5 = 12\nThat took 3 steps.", "12"),
        ("Answer:\n\n12\nor 13", "12"),
        ("Answer: 11. No. Answer: 12", "12"),
        ("12 is it. Answer: none", None),
        ("Answer:", None),
        ("", None),
        ("twelve", None),
        ("5 - 7 = -2", "-2"),
        ("5 − 7 = −2", "-2"),
        ("15-7", "7"),
        ("-0", "0"),
        ("007", "7"),
        ("1,000", "1000"),
        ("12.0", "12"),
        ("12.5", None),
        ("$12$", "12"),
        ("x12", None),
        ("١٢", None),
        ("1٢", None),
        ("１２", None),
        ("²", None),
        ("9" * 100_000, "9" * 100_000),
    ],
)
def test_the_stated_number(reply, number):
    assert stated_number(reply) == number


def test_format_failures_are_told_apart_from_wrong_numbers():
    env = envs.make("arithmetic", "train")
    answer = env.task(0).answer
    assert "states no whole number" in env.judge("twelve", answer).feedback
    assert env.judge("Answer: 12345", answer).feedback == "Wrong."
