r"""Answers in brackets: tuples, pairs, sets, set-builders, matrices, unions of intervals."""

from collections.abc import Callable

from envs.grading.mathematics.expression import closing
from envs.grading.mathematics.lexer import Token
from envs.grading.mathematics.nodes import Answer, MatrixAnswer, NotMathematics, Region, Sequence
from envs.grading.mathematics.sets import (
    EVERYTHING,
    NOTHING,
    as_region,
    intersection,
    union,
    without,
)
from envs.grading.mathematics.symbols import vocabulary

Statement = Callable[[list[Token]], Answer]
_ENDS = {"(": ")]", "[": ")]", "\\{": "\\}", "⟨": "⟩"}
_OPENING = vocabulary("( [ \\{ { ⟨")
_CLOSING = vocabulary(") ] \\} } ⟩")
_MATRICES = vocabulary("matrix pmatrix bmatrix Bmatrix smallmatrix array")


def split(tokens: list[Token], signs: tuple[str, ...]) -> list[list[Token]]:
    """The parts between these signs, outside of all brackets."""
    parts: list[list[Token]] = [[]]
    level = 0
    for token in tokens:
        if token.kind == "op":
            level += (token.text in _OPENING) - (token.text in _CLOSING)
        level += (token.kind == "begin") - (token.kind == "end")
        if token.kind == "op" and token.text in signs and level == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def bracketed(tokens: list[Token], statement: Statement) -> Answer | None:
    """The content of one pair of brackets, or of ± and one; None if it is no such structure."""
    if tokens[0].kind == "op" and tokens[0].text in ("±", "-") and len(tokens) > 3:
        inner = bracketed(tokens[1:], statement)
        if isinstance(inner, Sequence) and inner.kind in ("tuple", "pair"):
            return Sequence("signed" if tokens[0].text == "±" else "negated", (inner,))
        return None
    opened = tokens[0]
    if opened.kind != "op" or opened.text not in _ENDS or closing(tokens, 0) != len(tokens) - 1:
        return None
    shut = tokens[-1].text
    if shut not in _ENDS[opened.text]:
        return None
    inner_tokens = tokens[1:-1]
    if opened.text == "\\{":
        return _set(inner_tokens, statement)
    parts = split(inner_tokens, (",", ";"))
    if len(parts) == 1:
        if opened.text == "(" and shut == ")" and _plain(inner_tokens):
            return None
        return statement(inner_tokens)
    if any(not part for part in parts):
        raise NotMathematics("an answer is missing")
    items = tuple(statement(part) for part in parts)
    if opened.text == "⟨":
        return Sequence("tuple", items)
    return Sequence("pair" if len(items) == 2 else "tuple", items, opened.text + shut)


def _plain(tokens: list[Token]) -> bool:
    """True if brackets hold but a formula, with no relation or word in it."""
    signs = vocabulary("= ≈ ≡ < > ≤ ≥ ≠ ∈ ∪ ∩ ∖ or and : ℝ")
    return not any(
        token.kind in ("word", "begin") or (token.kind == "op" and token.text in signs)
        for token in tokens
    )


def _set(inner: list[Token], statement: Statement) -> Answer:
    if not inner:
        return NOTHING
    for sign in ("|", ":"):
        parts = split(inner, (sign,))
        if len(parts) == 2 and parts[0] and parts[0][0].kind == "name":
            told = statement(parts[1])
            whole = len(parts[0]) == 1 or [t.text for t in parts[0][1:]] == ["∈", "ℝ"]
            if isinstance(told, Region) and whole:
                return Region(told.parts)
            raise NotMathematics("a set by a condition")
    parts = split(inner, (",", ";"))
    if any(not part for part in parts):
        raise NotMathematics("an answer is missing")
    return Sequence("set", tuple(statement(part) for part in parts))


def united(tokens: list[Token], statement: Statement) -> Answer:
    """A union, intersection or difference of sets."""
    if len(parts := split(tokens, ("∪",))) > 1:
        return union([_region(part, statement) for part in parts])
    if len(parts := split(tokens, ("∖",))) == 2:
        whole = _region(parts[0], statement)
        return without(whole, _region(parts[1], statement))
    return intersection([_region(part, statement) for part in split(tokens, ("∩",))])


def _region(tokens: list[Token], statement: Statement) -> Region:
    if [token.text for token in tokens] == ["ℝ"]:
        return EVERYTHING
    found = as_region(statement(tokens))
    if found is None:
        raise NotMathematics("a union of what is no interval")
    return found


def matrix(tokens: list[Token], statement: Statement) -> Answer:
    """A matrix, with or without brackets of its own."""
    while tokens[0].kind == "op" and tokens[-1].kind == "op" and len(tokens) > 4:
        tokens = tokens[1:-1]
    if tokens[0].kind != "begin" or tokens[-1].kind != "end":
        raise NotMathematics("something beside a matrix")
    if tokens[0].text == "cases":
        return _cases(tokens[1:-1], statement)
    if tokens[0].text not in _MATRICES:
        raise NotMathematics(f"the environment {tokens[0].text}")
    rows = split(tokens[1:-1], ("\\\\",))
    if rows and not rows[-1]:
        rows = rows[:-1]
    cells = [tuple(statement(cell) for cell in split(row, ("&",))) for row in rows]
    if not cells or len({len(row) for row in cells}) != 1:
        raise NotMathematics("rows of different lengths")
    return MatrixAnswer(tuple(cells))


def _cases(tokens: list[Token], statement: Statement) -> Answer:
    """The cases of a function, in any order, each a value and its condition."""
    rows = [row for row in split(tokens, ("\\\\",)) if row]
    found: list[Answer] = []
    for row in rows:
        cells = split(row, ("&",))
        if len(cells) > 1 and cells[1] and cells[1][0].text in ("if", "when", "for"):
            cells[1] = cells[1][1:]
        if len(cells) > 2 or not all(cells):
            raise NotMathematics("a case without a value or condition")
        items = tuple(statement(cell) for cell in cells)
        found.append(items[0] if len(items) == 1 else Sequence("tuple", items))
    if not found:
        raise NotMathematics("no cases")
    return Sequence("bare", tuple(found))
