"""A small invented body of knowledge: things with names nobody knows, and what is true of them.

It is drawn from a seed, so what a model read before it was trained is of no use: it has to be told,
or to find out.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from envs.calibration_language import SIGNS

ATTRIBUTES: tuple[str, ...] = (
    "alive",
    "big",
    "cold",
    "fast",
    "green",
    "heavy",
    "loud",
    "old",
    "round",
    "sharp",
    "soft",
    "sweet",
)
"""The attributes to ask for. In English, so that a question needs no new word."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """For every thing, which attributes it has; no two things have the same."""

    facts: Mapping[str, frozenset[str]]
    attributes: tuple[str, ...]

    @property
    def things(self) -> tuple[str, ...]:
        """The names, in a fixed order."""
        return tuple(self.facts)

    def is_true(self, thing: str, attribute: str) -> bool:
        """True where the thing has the attribute."""
        return attribute in self.facts[thing]

    def says(self, thing: str) -> str:
        """All that is true of a thing, in one sentence."""
        has = [attribute for attribute in self.attributes if attribute in self.facts[thing]]
        return f"{thing} is {', '.join(has) or 'nothing of this'}."


def draw_knowledge(rng: random.Random, things: int, attributes: int) -> Knowledge:
    """Things that have each attribute with probability one half, no two alike."""
    asked = tuple(sorted(rng.sample(ATTRIBUTES, attributes)))
    facts: dict[str, frozenset[str]] = {}
    for thing in rng.sample(SIGNS, things):
        has = frozenset(a for a in asked if rng.random() < 0.5)
        while has in facts.values():
            has = frozenset(a for a in asked if rng.random() < 0.5)
        facts[thing] = has
    return Knowledge(facts, asked)


def best_question(sets: Iterable[frozenset[str]]) -> tuple[str, int]:
    """The attribute to ask for first, and how many questions tell the things apart at worst.

    `sets` has the attributes of each thing that may be meant; ("", 0) where there is one only.
    The attribute is the first of the best by name.
    """
    return _best(frozenset(sets))


@lru_cache(maxsize=100_000)
def _best(sets: frozenset[frozenset[str]]) -> tuple[str, int]:
    if len(sets) <= 1:
        return "", 0
    chosen, fewest = "", len(sets)
    # ⌈log₂ n⌉: an answer of yes or no halves a set at best, so no attribute can need fewer.
    least = (len(sets) - 1).bit_length()
    for attribute in sorted(frozenset.union(*sets)):
        with_it = frozenset(s for s in sets if attribute in s)
        # All of them have it: the answer would tell nothing.
        if len(with_it) == len(sets):
            continue
        needed = 1 + max(_best(with_it)[1], _best(sets - with_it)[1])
        if needed < fewest:
            chosen, fewest = attribute, needed
        if fewest == least:
            break
    return chosen, fewest
