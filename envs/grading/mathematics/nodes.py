"""Formulas and answers as the reader leaves them; none of them knows how it is compared."""

from dataclasses import dataclass, field
from fractions import Fraction


class NotMathematics(Exception):
    """The text is no mathematics that the reader knows; the message says where it stopped."""


@dataclass(frozen=True, slots=True)
class Node:
    """A formula: an operation and what it is applied to.

    `op` is num, var, pi, e, i, inf, add, mul, div, pow, neg, root, fact, binom, deg, percent, pm,
    mp, abs, or the name of a function. `text` is a variable's name or a number's digits.
    """

    op: str
    args: tuple["Node", ...] = ()
    value: Fraction = Fraction(0)
    text: str = ""


def number(value: Fraction | int, text: str = "") -> Node:
    """A rational number, with the digits it was written in where it was a decimal."""
    return Node("num", (), Fraction(value), text)


def variables(node: Node) -> frozenset[str]:
    """The names of all variables in it."""
    if node.op == "var":
        return frozenset([node.text])
    return frozenset().union(*map(variables, node.args))


def holds(node: Node, *ops: str) -> bool:
    """True if one of these operations occurs in it."""
    return node.op in ops or any(holds(arg, *ops) for arg in node.args)


@dataclass(frozen=True, slots=True)
class Formula:
    """A number or an expression. `name` is what stood left of its =, `unit` what followed it."""

    node: Node
    name: str = ""
    unit: str = ""
    rounded: Node | None = None
    """The decimal after ≈ where one stood there."""


@dataclass(frozen=True, slots=True)
class Words:
    """An answer in words, folded: "even", "no solution", "c"."""

    text: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """Several answers; `kind` is bare, tuple, pair or set. `ends` are a pair's brackets."""

    kind: str
    items: tuple["Answer", ...]
    ends: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class RealInterval:
    """The numbers between two, each of which belongs to it or not."""

    low: Node
    high: Node
    low_closed: bool
    high_closed: bool


@dataclass(frozen=True, slots=True)
class Region:
    """A union of intervals and single numbers; `excluded` are taken out of it."""

    parts: tuple[RealInterval, ...]
    excluded: tuple[Node, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class MathRelation:
    """An equation or inequality that is no definition: `left` minus `right` against 0."""

    op: str
    left: Node
    right: Node
    value: "Answer | None" = None
    """The right-hand side of the last =."""


@dataclass(frozen=True, slots=True)
class Congruence:
    """All numbers that leave `rest` by `modulus`."""

    rest: Node
    modulus: Node
    name: str = ""


@dataclass(frozen=True, slots=True)
class Based:
    """A numeral in another base than ten."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day, in seconds; `half` is am, pm or neither."""

    seconds: int
    half: str = ""


@dataclass(frozen=True, slots=True)
class Ratio:
    """a : b : c."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MatrixAnswer:
    """Rows of answers."""

    rows: tuple[tuple["Answer", ...], ...]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An equation between different numbers."""

    sides: tuple[Node, ...] = field(default=())


Answer = (
    Formula
    | Words
    | Sequence
    | Region
    | MathRelation
    | Congruence
    | Based
    | Clock
    | Ratio
    | MatrixAnswer
    | Contradiction
)
