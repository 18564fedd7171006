"""Equality of two formulas: exact, or to more digits than could agree by chance."""

import itertools
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

from mpmath import mp, mpf

from envs.grading.mathematics.approximate import Point, approximate, working_digits
from envs.grading.mathematics.exact import Gauss, TooLarge, Undefined, exact
from envs.grading.mathematics.nodes import Node, NotMathematics, holds, variables

FEWEST_DIGITS = 6
"""Significant digits from which on a decimal may stand for what it is the rounding of."""
_POINTS = (
    (Fraction(17, 7), Fraction(23, 11), Fraction(31, 13), Fraction(12, 17), Fraction(9, 19)),
    (Fraction(5, 13), Fraction(41, 17), Fraction(8, 11), Fraction(45, 19), Fraction(29, 7)),
    (Fraction(-19, 11), Fraction(-7, 13), Fraction(-25, 9), Fraction(-37, 17), Fraction(-3, 5)),
    (Fraction(-8, 17), Fraction(16, 7), Fraction(-13, 6), Fraction(33, 19), Fraction(-27, 11)),
)
# Far from zero and of all signs: |x + 50| is x + 50 at every point that is near to zero.
_FAR = (
    (Fraction(271, 7), Fraction(353, 11), Fraction(811, 13), Fraction(611, 17), Fraction(907, 19)),
    (Fraction(60013, 7), Fraction(50021, 13), Fraction(100003, 11), Fraction(70001, 9),
     Fraction(80021, 17)),
)  # fmt: skip
_FAR_DIGITS = (90, 600)  # the second where the first may have lost its digits: cosh² - sinh²
_MOST_SIGNS = 8  # combinations of signs that are tried of several letters
_SPREAD = 7  # by which the values of a sixth variable and more are told apart


def infinite(node: Node) -> int:
    """1 for ∞, -1 for -∞, 0 for all else."""
    if node.op == "inf":
        return 1
    if node.op in ("neg", "pos") and node.args[0].op == "inf":
        return -1
    return 0


def equal(one: Node, other: Node, ring: bool = True) -> bool:
    """True if both have the same value, for all values of their variables.

    Raises NotMathematics where a side has no value at all. `ring` is as for `exact`.
    """
    if one == other and not holds(one, "div", "pow", "fact", "log", "ln", "tan"):
        return True
    if infinite(one) or infinite(other):
        return infinite(one) == infinite(other)
    if holds(one, "inf", "pm", "mp") or holds(other, "inf", "pm", "mp"):
        raise NotMathematics("infinity within a formula")
    names = sorted(variables(one) | variables(other))
    if not names:
        return _same_number(one, other, ring) or _rounding(one, other, ring)
    decided = False
    for point, strict in _points(names):
        said = _at(one, other, ring, point, strict)
        if said is False:
            return False
        decided = decided or said is True
    if not decided:
        raise Undefined("no value anywhere")
    steep = _steep(one) or _steep(other)
    points = _far_points(names, 1 if steep else len(_FAR))
    return all(_far(one, other, ring, point) is not False for point in points)


def _points(names: list[str]) -> Iterator[tuple[dict[str, Fraction], bool]]:
    for place, values in enumerate(_POINTS):
        point = {}
        for index, name in enumerate(names):
            turn, start = divmod(index, len(values))
            point[name] = values[start] * (1 + Fraction(turn, _SPREAD))
        yield point, place < 2


def _steep(node: Node) -> bool:
    """True if its values grow so fast that far points would take thousands of digits."""
    grows = node.op in ("sinh", "cosh", "tanh", "coth", "sech", "csch", "exp", "fact", "binom")
    grows = grows or (node.op == "pow" and not constant(node.args[1]))
    return grows or any(map(_steep, node.args))


def _far_points(names: list[str], sets: int = len(_FAR)) -> Iterator[dict[str, Fraction]]:
    flips = itertools.islice(itertools.product((1, -1), repeat=min(len(names), 3)), _MOST_SIGNS)
    for turned in flips:
        for values in _FAR[:sets]:
            yield {
                name: turned[index % len(turned)]
                * values[index % len(values)]
                * (1 + Fraction(index // len(values), _SPREAD))
                for index, name in enumerate(names)
            }


def _far(one: Node, other: Node, ring: bool, known: dict[str, Fraction]) -> bool | None:
    """True if they agree at a point far from zero; None where a value there says nothing."""
    said: bool | None = None
    for digits in _FAR_DIGITS:
        try:
            said = _at(one, other, ring, known, False, digits)
        except TooLarge:
            return None
        if said is not False:
            break
    return said


def _at(
    one: Node,
    other: Node,
    ring: bool,
    known: dict[str, Fraction],
    strict: bool,
    digits: int = 90,
) -> bool | None:
    """True if they agree at one point; None where that says nothing.

    Where letters stand for negative numbers (not `strict`), a root or logarithm may have no real
    value on one side: ln x² is 2 ln x where both are real.
    """
    try:
        values = exact(one, known, ring), exact(other, known, ring)
    except Undefined:
        return None
    if values[0] is not None and values[1] is not None:
        return values[0] == values[1]
    found = []
    for tens in (False, True):
        with mp.workdps(digits):
            try:
                pair = [approximate(node, Point(known, ring, tens)) for node in (one, other)]
            except Undefined:
                return None
            real = all(abs(value.imag) <= abs(value) * mpf(10) ** -60 for value in pair)
            if not strict and not real:
                return None
            close = abs(pair[0] - pair[1]) <= mpf(10) ** -55 * max(map(abs, pair))
            found.append(bool(close))
        if not (_baseless(one) or _baseless(other)):
            break
    return any(found)


def _baseless(node: Node) -> bool:
    return (node.op == "log" and len(node.args) == 1) or any(map(_baseless, node.args))


def _same_number(one: Node, other: Node, ring: bool) -> bool:
    values = _exactly(one, ring), _exactly(other, ring)
    if values[0] is not None and values[1] is not None:
        return values[0] == values[1]
    try:
        work, gap = working_digits(one, other)
    except OverflowError as error:
        raise TooLarge("numbers too large to be compared") from error
    said = False
    for tens in (False, True):
        with mp.workdps(work):
            point = Point({}, ring, tens)
            pair = [approximate(node, point) for node in (one, other)]
            said = said or bool(abs(pair[0] - pair[1]) < mpf(10) ** -gap)
        if not (_baseless(one) or _baseless(other)):
            break
    return said


@lru_cache(maxsize=512)
def _exactly(node: Node, ring: bool) -> Gauss | None:
    return exact(node, {}, ring)


def _rounding(one: Node, other: Node, ring: bool) -> bool:
    """True if one is a decimal of six digits or more to which the other is rounded."""
    written = [(node, _decimal(node)) for node in (one, other)]
    decimals = [(step, node) for node, step in written if step is not None]
    if not decimals:
        return False
    step, node = max(decimals, key=lambda pair: pair[0])
    rest = other if node is one else one
    if len(decimals) == 2 and decimals[0][0] == decimals[1][0]:
        return False
    value = _exactly(node, ring)
    if value is None or abs(value.real) < step * 10 ** (FEWEST_DIGITS - 1):
        return False
    with mp.workdps(60):
        found = approximate(rest, Point({}, ring))
        if found.imag != 0:
            return False
        gap = abs(found.real - mpf(value.real.numerator) / value.real.denominator)
        return bool(gap <= mpf(step.numerator) / step.denominator / 2)


def _decimal(node: Node) -> Fraction | None:
    """The last place of a number that was written with a point; None for all else."""
    if node.op == "neg":
        return _decimal(node.args[0])
    if node.op != "num" or not node.text or "(" in node.text:
        return None
    digits, _, power = node.text.partition("e")
    places = len(digits.partition(".")[2])
    return Fraction(10) ** (int(power or 0) - places)


def number_value(node: Node) -> Any:
    """A rough real value for putting numbers in order; raises NotMathematics for complex ones."""
    if infinite(node):
        return mp.inf * infinite(node)
    if variables(node):
        raise NotMathematics("a bound with letters")
    with mp.workdps(50):
        value = approximate(node, Point({}))
        if abs(value.imag) > mpf(10) ** -40 * abs(value):
            raise NotMathematics("a bound that is not real")
        return value.real


def constant(node: Node) -> bool:
    """True if it is a number, with no letters in it."""
    return not variables(node) and not holds(node, "pm", "mp")


def proportional(one: Node, other: Node, positive: bool) -> bool:
    """True if one is the other times a number, which must be above 0 if `positive`."""
    names = sorted(variables(one))
    if names != sorted(variables(other)) or not names:
        return False
    ratios = []
    with mp.workdps(90):
        near = [known for known, _ in _points(names)]
        for place, known in enumerate((*near, *_far_points(names))):
            try:
                pair = [approximate(node, Point(known)) for node in (one, other)]
                far = place >= len(near)
                if far and any(abs(value.imag) > abs(value) * mpf(10) ** -60 for value in pair):
                    continue
                ratios.append(pair[0] / pair[1])
            except (Undefined, ZeroDivisionError):
                continue
            except TooLarge:
                if place < len(near):
                    raise
        if len(ratios) < 2:
            return False
        first = ratios[0]
        if abs(first) < mpf(10) ** -50 or (positive and not first.real > 0):
            return False
        return all(abs(ratio - first) <= mpf(10) ** -50 * abs(first) for ratio in ratios)


def signs(node: Node, flips: list[int], linked: bool) -> Node:
    """The formula with each ± as + or -; `flips` holds one sign for all (linked), or one each."""
    if node.op in ("pm", "mp"):
        sign = flips[0] if linked else flips.pop(0)
        inner = signs(node.args[0], flips, linked)
        plus = (sign > 0) == (node.op == "pm")
        return inner if plus else Node("neg", (inner,))
    if not node.args:
        return node
    return Node(
        node.op, tuple(signs(arg, flips, linked) for arg in node.args), node.value, node.text
    )


def count(node: Node, op: str) -> int:
    """The number of times that an operation occurs."""
    return (node.op == op) + sum(count(arg, op) for arg in node.args)


def both_signs(node: Node) -> list[Node]:
    """All values of a formula with ±: two, or all combinations where several stand without ∓."""
    plain, turned = count(node, "pm"), count(node, "mp")
    if plain + turned == 0:
        return [node]
    if plain + turned > 4:
        raise NotMathematics("too many signs ±")
    if turned or plain == 1:
        return [signs(node, [sign], True) for sign in (1, -1)]
    return [signs(node, list(flips), False) for flips in itertools.product((1, -1), repeat=plain)]
