"""Equations, inequalities and memberships: what they say of one letter, or as they stand."""

from collections.abc import Callable

from envs.grading.mathematics.brackets import split
from envs.grading.mathematics.lexer import Token
from envs.grading.mathematics.nodes import (
    Answer,
    Contradiction,
    Formula,
    MathRelation,
    Node,
    NotMathematics,
    RealInterval,
    Region,
    Sequence,
    Words,
)
from envs.grading.mathematics.numbers import constant, equal, number_value
from envs.grading.mathematics.sets import EVERYTHING, as_region, point, without
from envs.grading.mathematics.symbols import RELATIONS

Statement = Callable[[list[Token]], Answer]
Reader = Callable[[list[Token]], Formula]
_INF = Node("inf")
_MINUS = Node("neg", (_INF,))
_TURNED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}
_CLOSE = 0.01  # relative; what ≈ may join


def related(tokens: list[Token], statement: Statement, formula: Reader) -> Answer:
    """The meaning of a chain of relations; raises NotMathematics."""
    signs, level = [], 0
    for token in tokens:
        if token.kind == "op":
            level += (token.text in ("(", "[", "{", "\\{", "⟨")) - (
                token.text in (")", "]", "}", "\\}", "⟩")
            )
            if level == 0 and token.text in RELATIONS:
                signs.append(token.text)
    sides = split(tokens, tuple(RELATIONS))
    if any(not side for side in sides):
        raise NotMathematics("a relation with a side missing")
    if set(signs) <= set("=≈≡"):
        return _equation(sides, signs, statement, formula)
    if set(signs) <= {"<", "≤"} or set(signs) <= {">", "≥"}:
        return _inequality(sides, signs, formula)
    if signs == ["∈"]:
        return _member(sides, statement)
    if signs == ["≠"]:
        left, right = formula(sides[0]).node, formula(sides[1]).node
        if left.op == "var" and constant(right):
            found = without(EVERYTHING, Region((point(right),)))
            return Region(found.parts, name=left.text)
        return MathRelation("≠", left, right)
    raise NotMathematics("a mixture of relations")


def name_of(tokens: list[Token]) -> str | None:
    """The name that one side of an equation gives to the other; None where it is a formula."""
    texts = [token.text for token in tokens]
    if tokens[0].kind == "name" and texts[0] not in ("pi", "i", "e"):
        if len(tokens) == 1 or (texts[1] in ("_", "'")):
            return "".join(texts)
        if texts[1] == "(" and texts[-1] == ")" and texts.count("(") == 1:
            return "".join(texts)
    if all(token.kind in ("word", "run", "name") for token in tokens) and any(
        token.kind == "word" or len(token.text) > 3 for token in tokens
    ):
        return ""
    if texts[0] == "(" and texts[-1] == ")":
        inner = tokens[1:-1]
        if all(token.kind == "name" or token.text in (",", "_") for token in inner):
            return "".join(texts)
    return None


def _equation(
    sides: list[list[Token]], signs: list[str], statement: Statement, formula: Reader
) -> Answer:
    names = [name_of(side) for side in sides]
    last = statement(sides[-1])
    if not isinstance(last, Formula):
        if any(name is None for name in names[:-1]):
            raise NotMathematics("an equation between things of different kinds")
        return _named(last, names[0] or "")
    read = [
        formula(side) for side, name in zip(sides[:-1], names[:-1], strict=True) if name is None
    ]
    values = [*read, last]
    numbers = [one.node for one in values if constant(one.node)]
    if "≈" in signs and len(numbers) > 1:
        return _rounded(numbers, next((name for name in names if name), ""))
    if any(not equal(numbers[-1], one) for one in numbers[:-1]):
        return Contradiction(tuple(numbers))
    if names[0] is not None and numbers and last.node is not numbers[-1]:
        return Formula(numbers[-1], names[0])  # x = 5 = x
    if not constant(last.node) and numbers and last.node.op == "var" and len(sides) == 2:
        return Formula(numbers[0], last.node.text)  # 5 = x
    if len(sides) == 2 and names[0] is None and constant(values[0].node) and not numbers[1:]:
        return MathRelation("=", last.node, values[0].node, values[0])  # 4 = x² + y²
    if names[0] is not None or constant(values[0].node):
        if not constant(last.node) and any(not equal(one.node, last.node) for one in read):
            return Contradiction()
        return Formula(last.node, names[0] or "", last.unit)
    return MathRelation("=", values[0].node, last.node, last)


def _named(answer: Answer, name: str) -> Answer:
    if isinstance(answer, Sequence):
        return Sequence(answer.kind, answer.items, answer.ends, name)
    return answer


def _rounded(numbers: list[Node], name: str) -> Answer:
    """Numbers that ≈ joins: the last is the first in decimals, or it is no such thing."""
    first, last = numbers[0], numbers[-1]
    if equal(first, last):
        return Formula(first, name)
    bare = last.args[0] if last.op == "neg" else last
    if bare.op != "num":
        return Contradiction((first, last))
    places = len(bare.text.partition("e")[0].partition(".")[2])
    gap = abs(number_value(first) - number_value(last))
    size = abs(number_value(first))
    if gap > _CLOSE * size or gap > 10.0**-places:
        return Contradiction((first, last))
    return Formula(first, name, rounded=last)


def _inequality(sides: list[list[Token]], signs: list[str], formula: Reader) -> Answer:
    nodes = [formula(side).node for side in sides]
    if signs[0] in (">", "≥"):
        nodes, signs = nodes[::-1], [_TURNED[sign] for sign in reversed(signs)]
    letters = [place for place, node in enumerate(nodes) if not constant(node)]
    if len(letters) != 1 or len(nodes) > 3:
        if len(nodes) == 2:
            return MathRelation(signs[0], nodes[0], nodes[1])
        steps = zip(signs, nodes, nodes[1:], strict=False)
        return Sequence("bare", tuple(MathRelation(*step) for step in steps))
    place = letters[0]
    node = nodes[place]
    if len(nodes) == 3 and place != 1:
        raise NotMathematics("an inequality between numbers")
    if node.op == "abs" and node.args[0].op == "var" and len(nodes) == 2:
        return _absolute(node.args[0].text, nodes[1 - place], signs[0], place == 0)
    if node.op != "var":
        if len(nodes) == 2:
            return MathRelation(signs[0], nodes[0], nodes[1])
        raise NotMathematics("a chain of inequalities")
    low, high, low_closed, high_closed = _MINUS, _INF, False, False
    if place > 0:
        low, low_closed = nodes[place - 1], signs[place - 1] == "≤"
    if place < len(nodes) - 1:
        high, high_closed = nodes[place + 1], signs[place] == "≤"
    if low is _MINUS or high is _INF or number_value(low) <= number_value(high):
        return Region((RealInterval(low, high, (low_closed and low.op != "neg") or (low_closed and
                                low.args[0].op != "inf"), high_closed and high.op != "inf"),),
                      name=node.text)  # fmt: skip
    raise NotMathematics("an inequality that nothing fulfils")


def _absolute(name: str, bound: Node, sign: str, below: bool) -> Answer:
    closed, minus = sign == "≤", Node("neg", (bound,))
    if number_value(bound) < 0:
        raise NotMathematics("an absolute value below 0")
    if below:
        return Region((RealInterval(minus, bound, closed, closed),), name=name)
    outside = (RealInterval(_MINUS, minus, False, closed), RealInterval(bound, _INF, closed, False))
    return Region(outside, name=name)


def _member(sides: list[list[Token]], statement: Statement) -> Answer:
    name = name_of(sides[0])
    if name is None:
        raise NotMathematics("a membership of no letter")
    answer = statement(sides[1])
    if isinstance(answer, Sequence) and answer.kind == "pair":
        region = as_region(answer)
        if region is not None:
            return Region(region.parts, name=name)
    if isinstance(answer, Region | Words):
        return answer
    if isinstance(answer, Sequence) and answer.kind == "set":
        return Sequence("set", answer.items, name=name)
    raise NotMathematics("a membership in what is no set")


def variable(name: str) -> Node:
    """The letter of that name as a formula."""
    return Node("var", (), text=name)


def difference(relation: MathRelation) -> Node:
    """Its left side less its right side."""
    return Node("add", (relation.left, Node("neg", (relation.right,))))
