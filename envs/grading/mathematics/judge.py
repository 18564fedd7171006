"""The verdict on one boxed answer: what is told of it in a few words."""

from functools import lru_cache

from envs.grading.mathematics.compare import same
from envs.grading.mathematics.lexer import lex, written
from envs.grading.mathematics.nodes import Answer, Contradiction, Formula, NotMathematics
from envs.grading.mathematics.numbers import constant
from envs.grading.mathematics.statement import readings


def same_text(box: str, answer: str) -> bool:
    """True if two texts differ in spacing, fonts and colours alone."""
    if box.strip() == answer.strip():
        return True
    try:
        return bool(answer.strip()) and written(lex(box, False)) == written(lex(answer, False))
    except (NotMathematics, RecursionError):
        return False


@lru_cache(maxsize=256)
def _reference(answer: str) -> tuple[Answer, ...]:
    return tuple(readings(answer))


def legible(answer: str) -> bool:
    """True if a reference answer can be parsed; of others only the same text is right."""
    try:
        return bool(_reference(answer))
    except (NotMathematics, RecursionError):
        return False


def says_number(text: str) -> bool:
    """True if a text can be parsed as one number: a formula without letters."""
    try:
        found = readings(text)
    except (NotMathematics, RecursionError):
        return False
    return any(isinstance(one, Formula) and constant(one.node) for one in found)


def compare_alone(answer: str) -> None:
    """Read a reference answer and compare it with itself, as a reply is, whatever comes of it."""
    try:
        expected = _reference(answer)
    except (NotMathematics, RecursionError):
        return
    for one in expected:
        _same(one, one)


def judge(box: str, answer: str) -> dict[str, bool]:
    """Judge a box: if it is right, if it could be parsed, and if it contradicts itself."""
    if same_text(box, answer):
        return {"right": True, "read": True}
    try:
        stated = readings(box)
    except (NotMathematics, RecursionError):  # nested deeper than anyone writes
        return {"right": False, "read": False}
    if any(isinstance(one, Contradiction) for one in stated):
        return {"right": False, "read": True, "contradicts": True}
    try:
        expected = _reference(answer)
    except (NotMathematics, RecursionError):
        return {"right": False, "read": True}
    return {"right": any(_same(a, b) for a in expected for b in stated), "read": True}


def _same(one: Answer, other: Answer) -> bool:
    try:
        return same(one, other)
    except (NotMathematics, RecursionError):
        return False
