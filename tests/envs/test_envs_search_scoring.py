import random
import re
import string

import pytest

from envs.search.scoring import (
    accepted_answers,
    exact_match,
    f1,
    join_answers,
    normalise,
    stated_answer,
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Beatles!", "beatles"),
        ("An apple, a day", "apple day"),
        ("U.S.", "us"),
        ("  Café\u0301 ", "café\u0301"),
        ("Cafe\u0301", "café"),
        ("theatre", "theatre"),
        ("The", "the"),
        ("?", "?"),
        ("", ""),
    ],
)
def test_normalisation_lowers_and_drops_punctuation_and_articles(text, plain):
    assert normalise(text) == plain


def test_on_plain_text_normalisation_is_what_the_squad_script_does():
    def squad(text):
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    rng = random.Random(5)
    words = ["The", "cat", "an", "A", "U.S.", "1,000", "it's", "¡Olé!", "—", "b/c", "\t"]
    for _ in range(300):
        text = " ".join(rng.choices(words, k=6)) + " end"
        assert normalise(text) == squad(text)


@pytest.mark.parametrize(
    ("stated", "answer", "right"),
    [
        ("the Eiffel Tower.", "Eiffel Tower", True),
        ("Eiffel", "Eiffel Tower", False),
        ("two", "2 | two", True),
        ("the", "The The | The", True),
        ("a", "The", False),
        ("", "?", False),
        ("*", "* | the symbol ×", True),
        ("#", "*", False),
    ],
)
def test_exact_match_takes_any_accepted_answer_and_never_an_empty_one(stated, answer, right):
    assert exact_match(stated, answer) is right


@pytest.mark.parametrize(
    ("stated", "answer", "score"),
    [
        ("Tim Allen", "Tim Allen", 1.0),
        ("the actor Tim Allen", "Tim Allen", 0.8),  # precision 2/3, recall 1
        ("Tim", "Tim Allen", 2 / 3),
        ("Tim Tim", "Tim Allen", 0.5),  # a repeated word counts once
        ("Robert", "Tim Allen", 0.0),
        ("yes it is", "yes", 0.0),
        ("no", "no way", 0.0),
        ("yes", "yes", 1.0),
        ("Allen", "Tim Allen | Allen", 1.0),
        ("", "Tim", 0.0),
    ],
)
def test_f1_is_the_best_harmonic_mean_of_precision_and_recall(stated, answer, score):
    assert f1(stated, answer) == pytest.approx(score)


@pytest.mark.parametrize(
    ("reply", "stated"),
    [
        ("Answer: Paris", "Paris"),
        ("I think so.\n**Answer:** *Paris*\nThat is all.", "Paris"),
        ("answer : Rome\nAnswer: Paris", "Paris"),
        ("Answer:\n\n  Paris", "Paris"),
        ('Answer: "Paris"', "Paris"),
        ("Answer: *", "*"),
        ("Answer:", None),
        ("Answer: \n \n", None),
        ("The answer is Paris.", None),
        ("", None),
    ],
)
def test_the_answer_is_the_line_after_the_last_mark(reply, stated):
    assert stated_answer(reply) == stated


def test_answers_that_would_be_unclear_together_are_refused():
    assert accepted_answers(join_answers(["two", "2"])) == ("two", "2")
    for unclear in ([], ["x | y"], [" "]):
        with pytest.raises(ValueError, match="each answer must be text"):
            join_answers(unclear)


def test_a_reply_of_100_kb_is_read_at_once():
    assert stated_answer("answer " * 15_000 + "Answer: yes") == "yes"
    assert f1("word " * 20_000, "word") == pytest.approx(2 / 20_001)
    assert exact_match("the " * 25_000 + "end", "end")


@pytest.mark.parametrize(
    ("stated", "answer", "right"),
    [
        ("北京大学", "北京大学", True),
        ("北京 大学", "北京大学", True),
        ("北京大学。", "北京大学", True),
        ("「北京大学」", "北京大学", True),
        ("１９４５年", "1945年", True),
        ("北京", "北京大学", False),
        ("大学北京", "北京大学", False),
    ],
)
def test_text_without_spaces_is_compared_sign_by_sign(stated, answer, right):
    assert exact_match(stated, answer) is right


def test_f1_of_text_without_spaces_counts_signs():
    assert f1("北京", "北京大学") == pytest.approx(2 / 3)
    assert f1("東京", "北京大学") == pytest.approx(2 * 1 / 6)
    assert f1("上海", "北京大学") == 0.0


def test_a_full_width_colon_marks_an_answer():
    assert stated_answer("Answer： 北京") == "北京"
