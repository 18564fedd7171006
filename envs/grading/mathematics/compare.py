"""Comparison of a completion's answer with the reference answer."""

import itertools
import re
from fractions import Fraction

from envs.grading.mathematics.nodes import (
    Answer,
    Based,
    Clock,
    Congruence,
    Contradiction,
    Formula,
    MathRelation,
    MatrixAnswer,
    Node,
    NotMathematics,
    Ratio,
    Region,
    Sequence,
    Words,
    holds,
    number,
)
from envs.grading.mathematics.numbers import both_signs, constant, equal, number_value, proportional
from envs.grading.mathematics.relations import difference, variable
from envs.grading.mathematics.sets import as_region, same_region
from envs.grading.mathematics.units import unit_of

_MOST_LISTED = 40
_ALIKE = (
    frozenset(["no solution", "no solutions", "no real solution", "no real solutions", "none",
               "there is no solution", "there are no solutions"]),
    frozenset(["does not exist", "dne", "undefined"]),
    frozenset(["all real numbers", "all reals", "the set of all real numbers"]),
)  # fmt: skip


_INTRODUCED = re.compile(
    r"(?:so |thus |hence |therefore )?(?:the )?(?:final |correct )?"
    r"(?:answer|option|choice)(?: is)? "
)


def same(reference: Answer, reply: Answer) -> bool:
    """True if they say the same; raises NotMathematics where a side has no value."""
    one, other = _flat(reference), _flat(reply)
    if isinstance(one, Contradiction) or isinstance(other, Contradiction):
        return False
    if isinstance(one, Words) or isinstance(other, Words):
        return _same_words(_worded(one), _worded(other))
    one, other = _single(one), _single(other)
    if isinstance(one, Formula) and isinstance(other, Formula):
        return _same_formula(one, other)
    if isinstance(one, Region) or isinstance(other, Region):
        return _same_set(one, other)
    if isinstance(one, MathRelation) or isinstance(other, MathRelation):
        return _same_relation(one, other)
    if isinstance(one, MatrixAnswer) or isinstance(other, MatrixAnswer):
        return _same_matrix(one, other)
    if isinstance(one, Sequence) and isinstance(other, Sequence):
        return _same_sequence(one, other)
    return _same_special(one, other)


def _flat(answer: Answer) -> Answer:
    """The answer with every ± written out: one formula becomes the list of its values."""
    if isinstance(answer, Formula) and holds(answer.node, "pm", "mp"):
        values = both_signs(answer.node)
        return Sequence("bare", tuple(Formula(n, answer.name, answer.unit) for n in values))
    if not isinstance(answer, Sequence):
        return answer
    if answer.kind in ("signed", "negated"):
        inner = answer.items[0]
        turned = _negative(inner)
        return Sequence("bare", (inner, turned)) if answer.kind == "signed" else turned
    items: list[Answer] = [_flat(item) for item in answer.items]
    if answer.kind in ("bare", "set"):
        spread: list[Answer] = []
        for item in items:
            inside = isinstance(item, Sequence) and item.kind == "bare"
            spread.extend(item.items if inside and isinstance(item, Sequence) else [item])
        if len(spread) > _MOST_LISTED:
            raise NotMathematics("too many answers")
        return Sequence(answer.kind, tuple(spread), answer.ends, answer.name)
    choices = [item.items if isinstance(item, Sequence) and item.kind == "bare" else (item,)
               for item in items]  # fmt: skip
    if sum(len(choice) > 1 for choice in choices) == 0:
        return Sequence(answer.kind, tuple(items), answer.ends, answer.name)
    if len({len(choice) for choice in choices if len(choice) > 1}) > 1:
        raise NotMathematics("several signs ± in one tuple")
    several = max(map(len, choices))
    rows = [tuple(c[i] if len(c) > 1 else c[0] for c in choices) for i in range(several)]
    return Sequence("bare", tuple(Sequence(answer.kind, row, answer.ends) for row in rows))


def _negative(answer: Answer) -> Answer:
    if isinstance(answer, Formula):
        return Formula(Node("neg", (answer.node,)), answer.name, answer.unit)
    if isinstance(answer, Sequence):
        return Sequence(answer.kind, tuple(map(_negative, answer.items)), answer.ends)
    raise NotMathematics("the negative of what is no number")


def _single(answer: Answer) -> Answer:
    """The only member of a set of one, where that is no set itself."""
    if isinstance(answer, Sequence) and answer.kind == "set" and len(answer.items) == 1:
        member = answer.items[0]
        return answer if _is_set(member) or isinstance(member, Region) else member
    return answer


def _is_set(answer: Answer) -> bool:
    return isinstance(answer, Sequence) and answer.kind == "set"


def _worded(answer: Answer) -> str:
    """An answer as words; a letter alone may be one."""
    if isinstance(answer, Formula) and answer.node.op == "var" and len(answer.node.text) == 1:
        return answer.node.text
    return answer.text if isinstance(answer, Words) else ""


def _same_words(one: str, other: str) -> bool:
    if not one or not other:
        return False

    def bare(text: str) -> str:
        words = _INTRODUCED.sub("", text).split()
        return " ".join(words[1:] if len(words) > 1 and words[0] in ("the", "a", "an") else words)

    pair = {bare(one), bare(other)}
    return len(pair) == 1 or any(pair <= group for group in _ALIKE)


def _conflict(one: str, other: str) -> bool:
    """True if two names contradict each other: x = 5 is not y = 5, but f(x) may be y."""
    return bool(one and other and one != other and "(" not in one + other)


def _same_formula(one: Formula, other: Formula) -> bool:
    if _conflict(one.name, other.name):
        return False
    left, right = one.node, other.node
    if other.unit.startswith("?") and other.unit != one.unit:
        return False  # words of the reply's own, which may say anything
    units = unit_of(one.unit), unit_of(other.unit)
    if units[0] and units[1]:
        if units[0][0] != units[1][0]:
            return False
        left, right = _scaled(left, units[0][1]), _scaled(right, units[1][1])
    if equal(left, right):
        return True
    if holds(left, "deg") != holds(right, "deg") and equal(left, right, ring=False):
        return True
    counts = _per_cent(left), _per_cent(right)
    if (counts[0] is None) != (counts[1] is None):
        bare = right if counts[1] is None else left
        if not constant(bare) or holds(bare, "i") or abs(number_value(bare)) <= 1:
            return False
        return equal(counts[0] or counts[1] or bare, bare)
    if other.rounded is not None and left.op == "num" and left.text:
        return equal(left, other.rounded)
    return False


def _per_cent(node: Node) -> Node | None:
    """The number before the sign of a percentage; None for what is none."""
    if node.op == "neg" and node.args[0].op == "percent":
        return Node("neg", node.args[0].args)
    return node.args[0] if node.op == "percent" else None


def _scaled(node: Node, factor: Fraction) -> Node:
    return node if factor == 1 else Node("mul", (node, number(factor)))


def _same_set(one: Answer, other: Answer) -> bool:
    left, right = as_region(one), as_region(other)
    if left is None or right is None:
        return False
    if _conflict(getattr(one, "name", ""), getattr(other, "name", "")):
        return False
    return same_region(left, right)


def _same_relation(one: Answer, other: Answer) -> bool:
    if isinstance(one, Formula) and isinstance(other, MathRelation):
        if one.name and "(" not in one.name:
            one = MathRelation("=", variable(one.name), one.node)
        else:
            return other.value is not None and other.op == "=" and same(one, other.value)
    if isinstance(one, MathRelation) and isinstance(other, Formula) and other.name:
        other = MathRelation("=", variable(other.name), other.node)
    if not (isinstance(one, MathRelation) and isinstance(other, MathRelation)):
        return False
    if one.op in ("=", "≠"):
        return one.op == other.op and proportional(difference(one), difference(other), False)
    if one.op != other.op:
        return False
    return proportional(difference(one), difference(other), True)


def _same_matrix(one: Answer, other: Answer) -> bool:
    left, right = _rows(one), _rows(other)
    if left is None or right is None:
        return False
    if not (isinstance(one, MatrixAnswer) and isinstance(other, MatrixAnswer)):
        # A vector may be said as a tuple, and a tuple says not whether it stands or lies.
        listed = [list(itertools.chain(*side)) for side in (left, right)]
        return len(listed[0]) == len(listed[1]) and all(map(same, *listed))
    if len(left) != len(right) or len(left[0]) != len(right[0]):
        return False
    cells = zip(itertools.chain(*left), itertools.chain(*right), strict=True)
    return all(same(a, b) for a, b in cells)


def _rows(answer: Answer) -> list[tuple[Answer, ...]] | None:
    if isinstance(answer, MatrixAnswer):
        return list(answer.rows)
    if isinstance(answer, Sequence) and answer.kind in ("tuple", "pair"):
        return [(item,) for item in answer.items]
    return None


def _same_sequence(one: Sequence, other: Sequence) -> bool:
    if len(one.items) != len(other.items) or _conflict(one.name, other.name):
        return False
    if _letters(one) and (_letters(other) or _named(other)):
        return _letters(one).keys() == _letters(other).keys() and all(
            same(item, _letters(other)[letter]) for letter, item in _letters(one).items()
        )
    other = _in_order(other)
    kinds = {one.kind, other.kind}
    if "set" in kinds and kinds & {"tuple", "pair"}:
        return False
    if kinds <= {"set", "bare"}:
        return _same_in_any_order(list(one.items), list(other.items))
    if "bare" in kinds and {one.ends, other.ends} & {"[)", "(]"}:
        return False
    if "bare" not in kinds and one.ends and other.ends and one.ends != other.ends:
        return False
    if _named(one) and not _named(other):
        return _same_sequence(_by_name(one), other)
    if _named(other):
        other = _by_name(other)
    return all(same(a, b) for a, b in zip(one.items, other.items, strict=True))


def _letters(answer: Sequence) -> dict[str, Answer]:
    """The value of each letter by `(x,y)=(1,2)` or `x=1, y=2`; none where letters do not say it."""
    if _named(answer):
        pairs = [(item.name, Formula(item.node, "", item.unit)) for item in answer.items
                 if isinstance(item, Formula)]  # fmt: skip
    else:
        letters = answer.name[1:-1].split(",") if answer.name.startswith("(") else []
        if len(letters) != len(answer.items):
            return {}
        pairs = list(zip(letters, answer.items, strict=True))  # type: ignore[arg-type]  # any answer
    found: dict[str, Answer] = dict(pairs)
    return found if len(found) == len(answer.items) else {}


def _in_order(answer: Sequence) -> Sequence:
    """A tuple of x, y and z in that order, whatever order they were written in."""
    letters = {} if _named(answer) else _letters(answer)
    if not letters or not letters.keys() <= set("xyz"):
        return answer
    items = tuple(letters[letter] for letter in sorted(letters))
    return Sequence(answer.kind, items, answer.ends, answer.name)


def _named(answer: Sequence) -> bool:
    return all(isinstance(item, Formula) and item.name for item in answer.items)


def _by_name(answer: Sequence) -> Sequence:
    items = sorted(answer.items, key=lambda item: item.name if isinstance(item, Formula) else "")
    plain = [Formula(item.node, "", item.unit) for item in items if isinstance(item, Formula)]
    return Sequence("tuple", tuple(plain))


def _same_in_any_order(left: list[Answer], right: list[Answer]) -> bool:
    for item in left:
        for place, candidate in enumerate(right):
            if _is_set(item) == _is_set(candidate) and same(item, candidate):
                del right[place]
                break
        else:
            return False
    return True


def _same_special(one: Answer, other: Answer) -> bool:
    if isinstance(one, Based) and isinstance(other, Based):
        return one == other
    if isinstance(one, Clock) and isinstance(other, Clock):
        return one.seconds == other.seconds and (one.half == other.half or not one.half or
                                                 not other.half)  # fmt: skip
    if isinstance(one, Congruence) and isinstance(other, Congruence):
        if _conflict(one.name, other.name) or not equal(one.modulus, other.modulus):
            return False
        gap = Node("add", (one.rest, Node("neg", (other.rest,))))
        steps = Node("div", (gap, one.modulus))
        return equal(steps, Node("floor", (steps,)))
    if isinstance(one, Ratio) and isinstance(other, Ratio):
        return len(one.parts) == len(other.parts) and all(
            equal(Node("mul", (a, other.parts[0])), Node("mul", (b, one.parts[0])))
            for a, b in zip(one.parts, other.parts, strict=True)
        )
    for ratio, plain in ((one, other), (other, one)):
        if isinstance(ratio, Ratio) and isinstance(plain, Formula) and len(ratio.parts) == 2:
            whole = plain.node.op == "num" and plain.node.value.denominator == 1
            return not whole and equal(Node("div", ratio.parts), plain.node)
    return False
