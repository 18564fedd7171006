"""Island model: populations that evolve separately, one round each in turn, with migration.

E-SPL names islands as future work; the rules are ours. A member belongs to the island of the round
it was created in, round modulo the number of islands, and the root belongs to all, so no state is
kept. Every fifth turn of an island, the best prompt of the other islands competes there; its
offspring belong to the island they were created on. All islands use the same tasks and weights,
and migrants and the root compete on several, so that ratings are comparable between islands.
"""

from agents.parts.prompts.population import Member, Population
from agents.parts.prompts.selection import lower_bound
from harness.round_data import Round
from harness.types import SystemPrompt

MIGRATION_INTERVAL = 5
"""Turns of an island from one migrant to the next."""


def candidates(
    population: Population, islands: int, round: Round, newest_k: int
) -> tuple[tuple[Member, ...], list[SystemPrompt]]:
    """The newest K prompts of this round's island, and the migrant, if one is due.

    A migrant needs a place besides the island's own prompt, so a round with M = 1 has none.
    """
    window = island_members(population, islands, round.index, newest_k)
    visitor = migrant(population, islands, round.index)
    if visitor is None or visitor in window or round.prompts == 1:
        return window, []
    return window, [visitor.prompt]


def island_members(
    population: Population, islands: int, round: int, newest_k: int
) -> tuple[Member, ...]:
    """The newest K members of the island whose turn it is, oldest first.

    The whole population with fewer than two islands, or where the island has no member left.
    """
    if islands < 2:
        return population.window(newest_k)
    # Filtered before the window is taken: K counts the prompts of this island alone.
    own = [m for m in population if _belongs(m, islands, round)]
    return tuple(own[-newest_k:]) or population.window(newest_k)


def migrant(population: Population, islands: int, round: int) -> Member | None:
    """The other islands' best evaluated member by μ − 2σ, in a migration round; None otherwise."""
    if islands < 2 or (round // islands) % MIGRATION_INTERVAL != MIGRATION_INTERVAL - 1:
        return None
    # An inherited rating is no evidence, so an unevaluated prompt does not migrate.
    others = [m for m in population if m.evaluations and not _belongs(m, islands, round)]
    return max(others, key=lambda m: (lower_bound(m.rating), -m.generation), default=None)


def _belongs(member: Member, islands: int, round: int) -> bool:
    return not member.prompt.parents or member.generation % islands == round % islands
