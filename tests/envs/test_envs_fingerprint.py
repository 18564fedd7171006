import random

import pytest

from envs.fingerprint import canonical_answer, canonical_text, content_fingerprint, problem_key

ROWS = [(f"What is ${k}^2$?", str(k * k)) for k in range(20)]


def test_row_order_and_white_space_do_not_matter():
    shuffled = ROWS[:]
    random.Random(1).shuffle(shuffled)
    spaced = [(f"  {p.replace(' ', chr(10) + '  ')} \r\n", f" {a}\n") for p, a in shuffled]
    assert content_fingerprint(spaced) == content_fingerprint(ROWS)


def test_a_changed_answer_or_problem_or_number_of_rows_matters():
    changed = [*ROWS[:-1], (ROWS[-1][0], "362")]
    reworded = [*ROWS[:-1], (ROWS[-1][0] + "!", ROWS[-1][1])]
    found = {content_fingerprint(r) for r in (ROWS, changed, reworded, ROWS[:-1], [*ROWS, ROWS[0]])}
    assert len(found) == 5


def test_an_answer_cannot_move_into_its_problem():
    assert content_fingerprint([("a b", "c")]) != content_fingerprint([("a", "b c")])


def test_composed_and_decomposed_letters_are_the_same():
    assert canonical_text("e\u0301") == canonical_text("\u00e9")
    assert problem_key("Caf\u00e9  au\nlait") == problem_key("Cafe\u0301 au lait")


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("$\\frac{1}{2}$", "\\frac{1}{2}"),
        ("$$7$$", "7"),
        ("\\(7\\)", "7"),
        ("\\[ 7 \\]", "7"),
        ("033", "33"),
        ("-007", "-7"),
        ("0", "0"),
        ("33.0", "33"),
        ("33.5", "33.5"),
        ("$1$ and $2$", "$1$ and $2$"),
        ("$", "$"),
        ("", ""),
    ],
)
def test_canonical_answers(written, canonical):
    assert canonical_answer(written) == canonical
