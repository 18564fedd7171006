"""Values of formulas in exact arithmetic, where they are rational or rational multiples of i."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from envs.grading.mathematics.nodes import Node, NotMathematics

MOST_BITS = 600_000  # of a number that is worked out in full


class Undefined(NotMathematics):
    """The formula has no value: a division by 0, the factorial of a negative number."""


class TooLarge(NotMathematics):
    """The numbers would fill a machine."""


@dataclass(frozen=True, slots=True)
class Gauss:
    """A complex number with rational parts."""

    real: Fraction
    imag: Fraction = Fraction(0)

    def times(self, other: "Gauss") -> "Gauss":
        """The product."""
        if not self.imag and not other.imag:
            return Gauss(self.real * other.real)
        return Gauss(
            self.real * other.real - self.imag * other.imag,
            self.real * other.imag + self.imag * other.real,
        )

    def inverse(self) -> "Gauss":
        """1 / it; raises Undefined for 0."""
        size = self.real * self.real + self.imag * self.imag
        if not size:
            raise Undefined("a division by 0")
        return Gauss(self.real / size, -self.imag / size)

    def bits(self) -> int:
        """About how many binary digits its parts have."""
        return max(
            part.numerator.bit_length() + part.denominator.bit_length()
            for part in (self.real, self.imag)
        )


def exact(node: Node, known: Mapping[str, Fraction], ring: bool = True) -> Gauss | None:
    """The value where it is rational; None where it may not be. `known` are the variables'.

    `ring` says that degrees are π/180; else a degree is a unit that counts 1.
    """
    if node.op == "num":
        return Gauss(node.value)
    if node.op == "var":
        return Gauss(known[node.text]) if node.text in known else None
    if node.op == "i":
        return Gauss(Fraction(0), Fraction(1))
    if (
        node.op in ("log", "sin", "cos", "tan", "arcsin", "arccos", "arctan")
        or node.op not in _DONE
    ):
        return None
    if node.op == "deg" and ring:
        return None
    values = []
    for arg in node.args:
        value = exact(arg, known, ring)
        if value is None:
            return None
        values.append(value)
    found = _DONE[node.op](values)
    if found is not None and found.bits() > MOST_BITS:
        raise TooLarge("a number with too many digits")
    return found


def _add(values: list[Gauss]) -> Gauss:
    return Gauss(values[0].real + values[1].real, values[0].imag + values[1].imag)


def _neg(values: list[Gauss]) -> Gauss:
    return Gauss(-values[0].real, -values[0].imag)


def _pow(values: list[Gauss]) -> Gauss | None:
    base, exponent = values
    if exponent.imag:
        return None
    if exponent.real.denominator != 1:
        return _power_root(base, exponent.real)
    power = exponent.real.numerator
    if power == 0:
        if not base.real and not base.imag:
            raise Undefined("0 to the power of 0")
        return Gauss(Fraction(1))
    if not base.imag and abs(base.real) in (0, 1):
        if not base.real and power < 0:
            raise Undefined("a division by 0")
        return Gauss(base.real if power % 2 else abs(base.real))
    if base.bits() * abs(power) > MOST_BITS:
        raise TooLarge("a power with too many digits")
    if not base.imag:
        return Gauss(base.real**power)
    found, square, left = Gauss(Fraction(1)), base if power > 0 else base.inverse(), abs(power)
    while left:
        if left & 1:
            found = found.times(square)
        square, left = square.times(square), left >> 1
    return found


def _power_root(base: Gauss, exponent: Fraction) -> Gauss | None:
    root = _rooted(base, exponent.denominator)
    if root is None:
        return None
    return _pow([root, Gauss(Fraction(exponent.numerator))])


def _root(values: list[Gauss]) -> Gauss | None:
    base, index = values
    if index.imag or index.real.denominator != 1 or index.real < 1:
        return None
    return _rooted(base, index.real.numerator)


def _rooted(base: Gauss, index: int) -> Gauss | None:
    """A root where it is rational: an odd one of a negative number is negative."""
    if base.imag or index > 1000:
        return None
    if base.real < 0 and index % 2 == 0:
        if index != 2:
            return None
        inner = _rooted(Gauss(-base.real), 2)
        return None if inner is None else Gauss(Fraction(0), inner.real)
    size = abs(base.real)
    upper, lower = _whole_root(size.numerator, index), _whole_root(size.denominator, index)
    if upper is None or lower is None:
        return None
    return Gauss(Fraction(upper, lower) * (1 if base.real >= 0 else -1))


def _whole_root(value: int, index: int) -> int | None:
    if value < 2 or index == 1:
        return value
    if index == 2:
        root = math.isqrt(value)
    else:
        root = 1 << -(-value.bit_length() // index)
        while True:  # Newton's steps from above
            step = ((index - 1) * root + value // root ** (index - 1)) // index
            if step >= root:
                break
            root = step
    return root if root**index == value else None


def _fact(values: list[Gauss]) -> Gauss | None:
    value = values[0]
    if value.imag or value.real.denominator != 1:
        return None
    whole = value.real.numerator
    if whole < 0:
        raise Undefined("the factorial of a negative number")
    if whole > 30_000:
        raise TooLarge("a factorial with too many digits")
    return Gauss(Fraction(math.factorial(whole)))


def _binom(values: list[Gauss]) -> Gauss | None:
    if any(value.imag or value.real.denominator != 1 for value in values):
        return None
    upper, lower = (value.real.numerator for value in values)
    if upper < 0 or lower < 0:
        return None
    if min(lower, upper - lower) > 30_000 or upper.bit_length() > 60:
        raise TooLarge("a binomial with too many digits")
    return Gauss(Fraction(math.comb(upper, lower)))


def _several(name: str, values: list[Gauss]) -> Gauss | None:
    if any(value.imag for value in values):
        return None
    parts = [value.real for value in values]
    if name in ("min", "max"):
        return Gauss(min(parts) if name == "min" else max(parts))
    if any(part.denominator != 1 for part in parts):
        return None
    whole = [part.numerator for part in parts]
    return Gauss(Fraction(math.gcd(*whole) if name == "gcd" else math.lcm(*whole)))


def _real(name: str, values: list[Gauss]) -> Gauss | None:
    value = values[0]
    if value.imag:
        if name in ("Re", "Im"):
            return Gauss(value.real if name == "Re" else value.imag)
        return None
    part = value.real
    done = {
        "abs": abs(part), "floor": Fraction(math.floor(part)), "ceil": Fraction(math.ceil(part)),
        "sgn": Fraction((part > 0) - (part < 0)), "Re": part, "Im": Fraction(0),
    }  # fmt: skip
    return Gauss(done[name])


def _percent(values: list[Gauss]) -> Gauss:
    return Gauss(values[0].real / 100, values[0].imag / 100)


_Step = Callable[[list[Gauss]], Gauss | None]


def _steps(ask: Callable[[str, list[Gauss]], Gauss | None], *names: str) -> dict[str, _Step]:
    return {name: partial(ask, name) for name in names}


_DONE: dict[str, _Step] = {
    "add": _add,
    "neg": _neg,
    "mul": lambda values: values[0].times(values[1]),
    "div": lambda values: values[0].times(values[1].inverse()),
    "pow": _pow,
    "root": _root,
    "fact": _fact,
    "binom": _binom,
    "percent": _percent,
    "deg": lambda values: values[0],
    **_steps(_several, "gcd", "lcm", "min", "max"),
    **_steps(_real, "abs", "floor", "ceil", "sgn", "Re", "Im"),
}
