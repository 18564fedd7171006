"""A language of invented signs: each stands for one of eight operations on two digits.

A convention gives each sign a meaning, and every environment draws its own. A hash reserves one in
eight conventions for environments; the others may train a model on this language, so that no model
can have seen an environment's convention. The operations and the English sentence for a meaning are
the same in all conventions.
"""

import hashlib
import random
from collections.abc import Callable, Mapping
from functools import cache

Convention = Mapping[str, str]
"""Sign → meaning."""

MEANINGS: Mapping[str, Callable[[int, int], int]] = {
    "larger": max,
    "smaller": min,
    "sum": lambda a, b: (a + b) % 10,
    "double": lambda a, b: 2 * b % 10,
    "next": lambda a, b: (a + 1) % 10,
    "previous": lambda a, b: (a - 1) % 10,
    "rise": lambda a, b: (b + 1) % 10,
    "fall": lambda a, b: (b - 1) % 10,
}
"""Two digits to one; of results only the last digit counts. The next and the previous are those of
the first digit; double, rise (one more) and fall (one less) are of the second.
"""

_WORDS = """
blick dax wug fep toma zorp kiv lorn mib nuzz plim quon rask sint tulg vash
wole yern zib cruv drell flon gax hube jarl kesh lupt mork nalb opra prun quiv
relf spag trul ulp vint worb xan yolt zeff bram clet dorv enk frob grist hilk
"""
SIGNS: tuple[str, ...] = tuple(_WORDS.split())

_ENVS_SHARE = 8
_FEWEST_DISTINCT = 6


def meaning_sentence(sign: str, meaning: str) -> str:
    """The sentence that tells what a sign means."""
    return f"{sign} means the {meaning}."


def reserved_for_envs(convention: Convention) -> bool:
    """True for a convention reserved for environments; all others may train a model."""
    # Sorted: the order in which signs were drawn makes no other convention.
    text = " ".join(f"{sign}={convention[sign]}" for sign in sorted(convention))
    return hashlib.sha256(text.encode()).digest()[0] % _ENVS_SHARE == 0


def draw_convention(rng: random.Random, signs: int, for_envs: bool) -> dict[str, str]:
    """Some signs with a meaning each, reserved for environments or not."""
    while True:
        convention = {s: rng.choice(list(MEANINGS)) for s in rng.sample(SIGNS, signs)}
        if reserved_for_envs(convention) == for_envs:
            return convention


@cache
def distinguishing_pairs(meaning: str) -> tuple[tuple[int, int], ...]:
    """Pairs of digits for which no other meaning gives the same result: who is right there has the
    right meaning. Only pairs that tell six meanings or more, so that pairs hint at none.
    """
    found = []
    for pair in ((a, b) for a in range(10) for b in range(10)):
        results = {name: operate(*pair) for name, operate in MEANINGS.items()}
        told = [m for m, r in results.items() if list(results.values()).count(r) == 1]
        if meaning in told and len(told) >= _FEWEST_DISTINCT:
            found.append(pair)
    return tuple(found)


def question(first: int, steps: list[tuple[str, int]]) -> str:
    """The text of a task: a chain of signs and digits, worked from left to right."""
    return f"What is {first} " + " ".join(f"{sign} {digit}" for sign, digit in steps) + "?"


def worked_solution(
    first: int, steps: list[tuple[str, int]], convention: Convention
) -> tuple[str, int]:
    """A chain worked step by step without a slip, as text, and its result."""
    lines, current = [], first
    for sign, digit in steps:
        result = MEANINGS[convention[sign]](current, digit)
        lines.append(step_line(sign, convention[sign], current, digit, result))
        current = result
    return "\n".join([*lines, f"Answer: {current}"]), current


def step_line(sign: str, meaning: str, first: int, second: int, result: int) -> str:
    """One step of the work."""
    return f"Here {sign} means the {meaning}: {first} {sign} {second} = {result}."
