"""Sets of real numbers as unions of intervals; a single number is an interval of no length."""

from dataclasses import replace
from typing import Any

from envs.grading.mathematics.nodes import (
    Answer,
    Formula,
    Node,
    NotMathematics,
    RealInterval,
    Region,
    Sequence,
    holds,
)  # fmt: skip
from envs.grading.mathematics.numbers import equal, number_value

_INF = Node("inf")
EVERYTHING = Region((RealInterval(Node("neg", (_INF,)), _INF, False, False),))
NOTHING = Region(())


def point(node: Node) -> RealInterval:
    """The set of one number."""
    return RealInterval(node, node, True, True)


def as_region(answer: Answer) -> Region | None:
    """The set that an answer may be; None where it is none."""
    if isinstance(answer, Region):
        return answer
    if isinstance(answer, Sequence) and answer.kind == "set":
        nodes = [item.node for item in answer.items if isinstance(item, Formula)]
        return Region(tuple(map(point, nodes))) if len(nodes) == len(answer.items) else None
    if isinstance(answer, Sequence) and answer.kind == "pair":
        low, high = answer.items
        if isinstance(low, Formula) and isinstance(high, Formula):
            if holds(low.node, "pm", "mp") or holds(high.node, "pm", "mp"):
                return None
            ends = answer.ends
            return Region((RealInterval(low.node, high.node, ends[0] == "[", ends[1] == "]"),))
    return None


def _ordered(region: Region) -> list[tuple[Any, Any, RealInterval]]:
    """Its intervals from left to right, with rough ends; raises NotMathematics."""
    found = []
    for part in region.parts:
        low, high = number_value(part.low), number_value(part.high)
        if low > high or (part.low is not part.high and low == high and low in (-1, 1)):
            raise NotMathematics("an interval that ends before it begins")
        found.append((low, high, part))
    return sorted(found, key=lambda item: (item[0], item[1]))


def merged(region: Region) -> list[RealInterval]:
    """The same set in the fewest intervals, from left to right; raises NotMathematics."""
    found: list[RealInterval] = []
    for _, _, part in _ordered(region):
        if found and _touch(found[-1], part):
            last = found[-1]
            order = number_value(part.high) - number_value(last.high)
            if equal(part.high, last.high):
                found[-1] = replace(last, high_closed=last.high_closed or part.high_closed)
            elif order > 0:
                found[-1] = replace(last, high=part.high, high_closed=part.high_closed)
            if equal(part.low, last.low):
                closed = last.low_closed or part.low_closed
                found[-1] = replace(found[-1], low_closed=closed)
        else:
            found.append(part)
    return found


def _touch(left: RealInterval, right: RealInterval) -> bool:
    if equal(left.high, right.low):
        return left.high_closed or right.low_closed
    return bool(number_value(left.high) > number_value(right.low))


def union(regions: list[Region]) -> Region:
    """All that is in one of them."""
    return Region(tuple(part for region in regions for part in region.parts))


def intersection(regions: list[Region]) -> Region:
    """The intersection of all of them; raises NotMathematics."""
    kept = list(regions[0].parts)
    for region in regions[1:]:
        kept = [met for one in kept for two in region.parts if (met := _meet(one, two))]
    return Region(tuple(kept))


def _meet(one: RealInterval, two: RealInterval) -> RealInterval | None:
    if equal(one.low, two.low):
        low, low_closed = one.low, one.low_closed and two.low_closed
    else:
        first = number_value(one.low) > number_value(two.low)
        low, low_closed = (one.low, one.low_closed) if first else (two.low, two.low_closed)
    if equal(one.high, two.high):
        high, high_closed = one.high, one.high_closed and two.high_closed
    else:
        first = number_value(one.high) < number_value(two.high)
        high, high_closed = (one.high, one.high_closed) if first else (two.high, two.high_closed)
    if equal(low, high):
        return RealInterval(low, high, True, True) if low_closed and high_closed else None
    if number_value(low) > number_value(high):
        return None
    return RealInterval(low, high, low_closed, high_closed)


def without(whole: Region, gone: Region) -> Region:
    """The difference of two sets; raises NotMathematics."""
    rest = whole
    for part in gone.parts:
        sides = []
        if number_value(part.low) != number_value(EVERYTHING.parts[0].low):
            sides.append(
                RealInterval(EVERYTHING.parts[0].low, part.low, False, not part.low_closed)
            )
        if number_value(part.high) != number_value(_INF):
            sides.append(RealInterval(part.high, _INF, not part.high_closed, False))
        rest = intersection([rest, Region(tuple(sides))])
    return rest


def same_region(one: Region, other: Region) -> bool:
    """True if both are the same set; raises NotMathematics."""
    left, right = merged(one), merged(other)
    return len(left) == len(right) and all(
        a.low_closed == b.low_closed
        and a.high_closed == b.high_closed
        and equal(a.low, b.low)
        and equal(a.high, b.high)
        for a, b in zip(left, right, strict=True)
    )
