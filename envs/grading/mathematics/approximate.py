"""Values of formulas to a given number of digits, where exact arithmetic does not reach.

How many digits decide whether two formulas are equal follows from the formulas themselves: two
different numbers made of roots cannot be closer than the size of what they are made of allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from mpmath import mp, mpc, mpf

from envs.grading.mathematics.exact import TooLarge, Undefined
from envs.grading.mathematics.nodes import Node, NotMathematics
from envs.grading.mathematics.symbols import vocabulary

MOST_DIGITS = 20_000
LARGEST_EXPONENT = 10**7  # times the logarithm of what is raised to it
LARGEST_ARGUMENT = 100_000  # of factorials and the like
_RADIANS = vocabulary("sin cos tan cot sec csc")
# Functions whose values come as near to a limit as their argument is large.
_SATURATING = vocabulary("sinh cosh tanh coth sech csch")
_PLAIN = {
    "sin": mp.sin, "cos": mp.cos, "tan": mp.tan, "cot": mp.cot, "sec": mp.sec, "csc": mp.csc,
    "arcsin": mp.asin, "arccos": mp.acos, "arctan": mp.atan, "arccot": mp.acot,
    "arcsec": mp.asec, "arccsc": mp.acsc, "sinh": mp.sinh, "cosh": mp.cosh, "tanh": mp.tanh,
    "coth": mp.coth, "sech": mp.sech, "csch": mp.csch, "arcsinh": mp.asinh, "arccosh": mp.acosh,
    "arctanh": mp.atanh, "abs": abs, "arg": mp.arg, "Re": mp.re, "Im": mp.im,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """A point at which a formula is evaluated: its variables, and choices of notation."""

    known: Mapping[str, Fraction]
    ring: bool = True
    """True if a degree outside of sine and the like is π/180, and not a unit."""
    tens: bool = False
    """True if a logarithm without a base is one of base ten."""


def approximate(node: Node, point: Point) -> Any:
    """Its value in mpmath's present precision; raises Undefined, TooLarge and NotMathematics."""
    try:
        value = mpc(_value(node, point))
    except (ZeroDivisionError, ValueError) as error:
        raise Undefined("no value") from error
    except (OverflowError, MemoryError) as error:
        raise TooLarge("a number beyond all use") from error
    if not (mp.isfinite(value.real) and mp.isfinite(value.imag)):
        raise Undefined("no finite value")
    return value


def _value(node: Node, point: Point) -> Any:
    op, args = node.op, node.args
    if op == "num":
        return mpf(node.value.numerator) / node.value.denominator
    if op == "var":
        value = point.known[node.text]
        return mpf(value.numerator) / value.denominator
    if op in ("pi", "e", "i"):
        return {"pi": +mp.pi, "e": +mp.e, "i": mpc(0, 1)}[op]
    if op == "deg":
        factor = mp.pi / 180 if point.ring else 1
        return _value(args[0], point) * factor
    if op in _RADIANS:
        point = Point(point.known, True, point.tens)
    values = [_value(arg, point) for arg in args]
    if op == "add":
        return values[0] + values[1]
    if op == "neg":
        return -values[0]
    if op == "mul":
        return values[0] * values[1]
    if op == "div":
        return values[0] / values[1]
    if op == "percent":
        return values[0] / 100
    if op in ("pow", "root"):
        return _power(values, args[1], op == "root")
    if op in ("log", "ln"):
        return _log(op, values, point)
    return _function(op, values)


def _power(values: list[Any], index: Node, root: bool) -> Any:
    base, exponent = values
    rational = _fraction(index)
    if rational is not None and root:
        if rational == 0:
            raise Undefined("a root of index 0")
        rational = 1 / rational
    real = base if isinstance(base, mpf) else base.real if base.imag == 0 else None
    if rational is not None and real is not None and real < 0 and rational.denominator % 2 == 1:
        power = (-real) ** (mpf(rational.numerator) / rational.denominator)
        if rational.denominator == 1:
            return real ** int(rational)
        return -power if rational.numerator % 2 else power
    if rational is not None and rational.denominator == 1 and abs(rational) <= LARGEST_EXPONENT:
        if base == 0 and rational <= 0:
            raise Undefined("0 to a power of 0 or less")
        return base ** int(rational)
    if base == 0:
        if mp.re(exponent) <= 0:
            raise Undefined("0 to a power of 0 or less")
        return mpf(0)
    power = 1 / exponent if root else exponent
    if abs(power) * (1 + abs(mp.log(abs(base)))) > LARGEST_EXPONENT:
        raise TooLarge("a power beyond all use")
    return base**power


def _fraction(node: Node) -> Fraction | None:
    if node.op == "num":
        return node.value
    if node.op == "neg":
        inner = _fraction(node.args[0])
        return None if inner is None else -inner
    if node.op == "div":
        upper, lower = map(_fraction, node.args)
        return upper / lower if upper is not None and lower else None
    return None


def _log(op: str, values: list[Any], point: Point) -> Any:
    if values[0] == 0:
        raise Undefined("the logarithm of 0")
    if len(values) == 2:
        return mp.log(values[0]) / mp.log(values[1])
    found = mp.log(values[0])
    return found / mp.log(10) if op == "log" and point.tens else found


def _function(op: str, values: list[Any]) -> Any:
    saturating = op in _SATURATING or op in ("fact", "binom")
    if saturating and any(abs(value) > LARGEST_ARGUMENT for value in values):
        raise TooLarge("an argument beyond all use")
    if op == "fact":
        return mp.gamma(values[0] + 1)
    if op == "binom":
        return mp.binomial(values[0], values[1])
    if op in ("floor", "ceil"):
        return getattr(mp, op)(_nearly(values[0]))
    if op == "sgn":
        return mp.sign(values[0])
    if op in ("min", "max"):
        if any(mp.im(value) != 0 for value in values):
            raise Undefined("the order of complex numbers")
        return (min if op == "min" else max)(values, key=mp.re)
    if op in _PLAIN:
        return _PLAIN[op](*values[:1])
    raise NotMathematics(f"the function {op}")


def _nearly(value: Any) -> Any:
    """The value, or the whole number that it is by all digits but the last few."""
    whole = mp.nint(mp.re(value))
    return whole if abs(value - whole) < mpf(10) ** (10 - mp.dps) else value


def digits_of(node: Node) -> tuple[float, int]:
    """Bounds of the size of its numbers, as powers of ten, and the roots' degree."""
    if node.op == "num":
        size = node.value.numerator.bit_length() + node.value.denominator.bit_length()
        return 0.302 * size + 1, 1
    if not node.args:
        return 1.0, 1
    parts = [digits_of(arg) for arg in node.args]
    degree = 1
    for _, inner in parts:
        degree = min(64, degree * inner)
    if node.op == "root":
        index = _fraction(node.args[1])
        return parts[0][0], min(64, degree * (int(index) if index and index > 0 else 2))
    if node.op == "pow":
        exponent = _fraction(node.args[1])
        if exponent is None:
            return (parts[0][0] + 1) * (1 + _size(node.args[1])) + parts[1][0], degree
        return parts[0][0] * (1 + float(abs(exponent))), min(64, degree * exponent.denominator)
    if node.op == "fact":
        top = _size(node.args[0])
        return top * (parts[0][0] + 1) + 1, degree
    if node.op == "binom":
        return _size(node.args[0]) + 1, degree
    grows = _size(node.args[0]) if node.op in _SATURATING else 0
    return sum(size for size, _ in parts) + 1 + grows, degree


def _size(node: Node) -> float:
    """About how large an exponent is; for the number of digits alone."""
    value = _fraction(node)
    if value is not None:
        return float(min(abs(value), Fraction(MOST_DIGITS)))
    if node.op == "num" or not node.args:
        return 4.0
    if node.op == "pow":
        return float(min(MOST_DIGITS, _size(node.args[0]) ** min(8.0, _size(node.args[1]))))
    parts = [_size(arg) for arg in node.args]
    if node.op == "mul":
        return min(float(MOST_DIGITS), parts[0] * parts[1])
    return min(float(MOST_DIGITS), sum(parts))


def working_digits(one: Node, other: Node) -> tuple[int, int]:
    """Digits to work with, and the power of ten under which a difference is none."""
    (size, degree), (size_two, degree_two) = digits_of(one), digits_of(other)
    gap = int((size + size_two + 2) * min(16, degree * degree_two)) + 15
    work = gap + int(size + size_two) + 45
    if work > MOST_DIGITS:
        raise TooLarge("numbers too large to be compared")
    return work, gap
