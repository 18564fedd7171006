"""Anyone's questions: how a file is read, divided and judged."""

import json
from typing import Any

import pytest

import envs
from envs.errors import DataDiffers, DataMalformed, DataUnavailable, UnknownOption
from envs.grading.answer_graders import GRADERS
from envs.grading.number_answer import number_in
from envs.jsonl import Questions


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def sums(count=40, **more):
    return [{"problem": f"{n} + {n}?", "answer": str(2 * n), **more} for n in range(count)]


def texts(world, split):
    return {world.problem(split, i).text for i in range(world.size(split))}


def test_lines_without_a_split_are_divided_by_a_seeded_hash(tmp_path):
    path = written(tmp_path / "q.jsonl", sums())
    world: Any = envs.make(f"jsonl:{path}", "test", grader="number")
    assert [world.size(s) for s in ("train", "validation", "test")] == [28, 4, 8]
    parts = [texts(world, s) for s in ("train", "validation", "test")]
    assert len(set.union(*parts)) == 40
    other = Questions(path=path, grader="number", split_seed=1)
    assert texts(other, "test") != parts[2]
    assert other.fingerprint() != world.fingerprint()
    assert other.content() == world.content()
    backwards = written(tmp_path / "b.jsonl", sums()[::-1])
    assert Questions(path=backwards, grader="number").fingerprint() == world.fingerprint()


def test_lines_with_a_split_stay_in_it_and_validation_is_cut_from_train(tmp_path):
    rows = [*sums(10, split="train"), {"question": "9 + 1?", "answer": 10, "split": "test"}]
    world = Questions(path=written(tmp_path / "q.jsonl", rows), grader="number", validation=0.2)
    assert [world.size(s) for s in ("train", "validation", "test")] == [8, 2, 1]
    assert world.problem("test", 0).answer == "10"


def test_a_folder_has_a_file_a_split(tmp_path):
    written(tmp_path / "train.jsonl", sums(4))
    with pytest.raises(DataUnavailable, match=r"no train\.jsonl and test\.jsonl"):
        Questions(path=str(tmp_path), grader="number")
    written(tmp_path / "test.jsonl", [{"problem": "1 + 2?", "answer": "3", "id": "mine"}])
    world = Questions(path=str(tmp_path), grader="number", split="test")
    assert [world.size(s) for s in ("train", "validation", "test")] == [3, 1, 1]
    assert world.reset(seed=0) == ("1 + 2?", {"task": "jsonl:mine", "answer": ""})


def test_a_problem_that_occurs_twice_is_kept_in_the_strictest_split(tmp_path):
    rows = [
        *sums(5, split="train"),
        {"problem": " 2  + 2?", "answer": "4", "split": "test"},
        {"problem": "2 + 2?", "answer": "4", "split": "validation"},
    ]
    world = Questions(path=written(tmp_path / "q.jsonl", rows), grader="number")
    assert texts(world, "test") == {"2  + 2?"}
    assert world.size("train") + world.size("validation") == 4


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([{"problem": "a"}], {}, "line 1 has no answer"),
        ([{"problem": "a", "answer": True}], {}, "line 1 has no answer"),
        (["no"], {}, "line 1 is not a JSON object"),
        ([*sums(5), {"problem": "0 + 0?", "answer": "1"}], {}, "line 6 asks what .* line 1 asks"),
        ([*sums(5), *sums(1, split="test")], {}, "line 1 has no split, but other lines"),
        ([{"problem": "a", "answer": "1", "split": "dev"}], {}, "the split 'dev'; expected one of"),
        (sums(2), {}, "none is left for train"),
        ([*sums(5), {"problem": "a?", "answer": "b"}], {}, "line 6 has the answer 'b', which the"),
        ([{"problem": str(n), "answer": "1", "id": "x"} for n in range(5)], {}, "has the id 'x'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(rows, options, said, tmp_path):
    with pytest.raises(DataMalformed, match=said):
        Questions(path=written(tmp_path / "q.jsonl", rows), grader="number", **options)


def test_options_that_cannot_be_are_refused(tmp_path):
    path = written(tmp_path / "q.jsonl", sums())
    with pytest.raises(UnknownOption, match="No grader was named"):
        Questions(path=path)
    with pytest.raises(UnknownOption, match=r"no grader 'exakt'.*Did you mean 'exact'"):
        Questions(path=path, grader="exakt")
    with pytest.raises(UnknownOption, match="are no shares"):
        Questions(path=path, grader="exact", validation=0.6, test=0.5)
    with pytest.raises(UnknownOption, match=r"no option 'garder'. Did you mean 'grader'"):
        envs.make(f"jsonl:{path}", "train", garder="exact")
    with pytest.raises(DataUnavailable, match="There is no file"):
        envs.make("jsonl:nowhere.jsonl", "train", grader="exact")


def test_pinned_content_is_kept_and_other_content_refused(tmp_path):
    path = tmp_path / "q.jsonl"
    written(path, sums())
    pin = Questions(path=str(path), grader="number").content()[:12]
    assert Questions(path=str(path), grader="number", pin=pin).size("test") == 8
    written(path, sums(41))
    with pytest.raises(DataDiffers, match=pin):
        Questions(path=str(path), grader="number", pin=pin)


def test_texts_are_published_only_where_the_user_says_so(tmp_path):
    path = written(tmp_path / "q.jsonl", sums())
    assert not Questions(path=path, grader="number").redistributable
    assert Questions(path=path, grader="number", publish=True).redistributable


def test_a_name_does_not_tell_where_the_file_lies(tmp_path):
    path = written(tmp_path / "q.jsonl", sums())
    assert envs.resolve(f"jsonl:{path}") == "harness/JSONL-v1"
    world = Questions(path=path, grader="number")
    assert str(tmp_path) not in world.rules() + world.problem("train", 0).id


@pytest.mark.parametrize(
    ("grader", "answer", "reply", "right"),
    [
        ("number", "1000", "So. Answer: 1,000.0 apples", True),
        ("number", "0.5", "Answer: .5", True),
        ("number", "-3", "it is −3", True),
        ("number", "3", "Answer: 3\nor Answer: 4", False),
        ("number", "3", "three", False),
        ("number", "4", "Answer: 3, 4", False),
        ("number", "4", "Answer: 3 or 4", False),
        ("number", "2", "Answer: 1/2", False),
        ("number", "4", "1 2 3 4", False),
        ("number", "4", "Answer: 3 + 4", False),
        ("number", "7", "Answer: 3 + 4 = 7", True),
        ("number", "12", "Answer: on May 5 there were 12", True),
        ("choice", "A", "Answer: A or B", False),
        ("choice", "A", "Answer: A, B, C, D", False),
        ("choice", "A", "Answer: (A) (B)", False),
        ("choice", "A", "Answer: A, a good one", True),
        ("choice", "A", "Answer: A. Paris", True),
        ("contains", "Rome", "Answer: Paris or Rome", False),
        ("contains", "Rome", "Answer: Paris, Rome, Berlin", False),
        ("contains", "Rome", "Answer: Rome; Paris", False),
        ("contains", "Rome", "Answer: Rome, Italy", True),
        ("contains", "AC/DC", "Answer: AC/DC", True),
        ("exact", "New York", "thinking\nAnswer:  New   York", True),
        ("exact", "New York", "Answer: new york", False),
        ("exact", "New York", "", False),
        ("choice", "B", "Answer: (b)", True),
        ("choice", "B", "Answer: Because", False),
        ("choice", "(C)", "**Answer:** C", True),
        ("contains", "Marie Curie", "Answer: it was marie curie.", True),
        ("contains", "Curie", "Answer: Curies", False),
        ("contains", "Curie", "Answer: " + "Curie, Bohr, " * 40, False),
        ("math", "1/2", "thus \\boxed{0.5}", True),
        ("math", "1/2", "Answer: 0.5", False),
    ],
)
def test_graders_judge_by_hand_checked_examples(grader, answer, reply, right):
    assert GRADERS[grader].reads(answer)
    verdict = GRADERS[grader].judge(reply, answer)
    assert (verdict.outcome, verdict.success) == ("scored", right)


@pytest.mark.parametrize("grader", sorted(GRADERS))
def test_every_graders_own_answer_is_right_even_with_braces_in_it(grader):
    answer = {"number": "12", "choice": "D", "math": "x^{2}"}.get(grader, "{0} {braces}")
    one = GRADERS[grader]
    assert one.judge(one.oracle(answer), answer).success


def test_a_line_may_list_several_accepted_answers(tmp_path):
    rows = [
        {"question": "Who?", "answers": ["Mark Twain", "Samuel Clemens"], "split": "train"},
        {"question": "Where?", "golden_answers": ["NYC", "New York"], "split": "test"},
        {"question": "When?", "answer": "1876", "split": "train"},
    ]
    world = Questions(path=written(tmp_path / "q.jsonl", rows), grader="contains", split="test")
    assert world.problem("test", 0).answer == "NYC\nNew York"
    _, info = world.reset(seed=0)
    assert info["answer"] == ""
    assert world.judge(world.oracle(), "NYC\nNew York").success
    assert world.judge("Answer: New York", "NYC\nNew York").success
    train = Questions(path=str(tmp_path / "q.jsonl"), grader="contains", validation=0.5)
    several = next(p for p in (train.problem("train", 0), train.problem("validation", 0))
                   if p.answer != "1876")  # fmt: skip
    told = train.feedback(train.judge("Answer: Poe", several.answer), several)
    assert told.endswith("The correct answer is Mark Twain or Samuel Clemens.")


@pytest.mark.parametrize("listed", [[], "Rome", [""], [None], ["two\nlines"]])
def test_a_list_of_answers_that_is_none_is_refused_with_its_line(listed, tmp_path):
    rows = [*sums(3), {"problem": "who?", "answers": listed, "answer": "x"}]
    with pytest.raises(DataMalformed, match="line 4 has"):
        Questions(path=written(tmp_path / "q.jsonl", rows), grader="exact")


def test_a_reference_the_grader_cannot_read_is_known_before_a_run():
    assert not GRADERS["choice"].reads("yes")
    assert not GRADERS["number"].reads("many")
    assert not GRADERS["exact"].reads("two\nlines")
    assert number_in("7" * 100) is None
