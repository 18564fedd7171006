"""Islands: populations that evolve apart, each in its turn, with a guest now and then.

E-SPL names islands as future work; the rules are ours. A member lives where it was born: the
island of round r is r mod the number of islands, and the root is native to all. So nothing need be
remembered. Every fifth turn of an island the best of the others plays there as a guest; its
children are born there, and that is the only way over. All play the same tasks with the same
weights, and guests and root play everywhere, so ratings mean the same on every island.
"""

from agents.parts.prompts.population import Member, Population
from agents.parts.prompts.selection import lower

VISIT = 5
"""Turns of an island from one guest to the next."""


def natives(population: Population, islands: int, round: int, size: int) -> tuple[Member, ...]:
    """The newest `size` members of the island whose turn it is, oldest first.

    With fewer than two islands, or where nobody of the island is left, of the whole population.
    """
    if islands < 2:
        return population.window(size)
    mine = [m for m in population if _at_home(m, islands, round)]
    return tuple(mine[-size:]) or population.window(size)


def guest(population: Population, islands: int, round: int) -> Member | None:
    """The best by μ − 2σ that has played elsewhere, in a round of visits; None in every other."""
    if islands < 2 or (round // islands) % VISIT != VISIT - 1:
        return None
    others = [m for m in population if m.played and not _at_home(m, islands, round)]
    return max(others, key=lambda m: (lower(m.rating), -m.born), default=None)


def _at_home(member: Member, islands: int, round: int) -> bool:
    return not member.prompt.parents or member.born % islands == round % islands
