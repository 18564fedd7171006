"""Prompt evolution: what can be told goes into the system prompt (E-SPL §3, Alg. 1 and 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from agents.context import MethodContext, MethodSpec
from agents.parts.prompts import islands, selection
from agents.parts.prompts.operators import Birth, EditLimits, crossover, mutate
from agents.parts.prompts.population import Member, Population
from agents.parts.prompts.reflector import Reflector
from agents.parts.prompts.round_report import tally
from agents.parts.prompts.selection import ChampionName, SelectionName
from agents.parts.prompts.trueskill import inherit, paired_errors, rate
from agents.parts.prompts.validation_rounds import ValidationRounds
from agents.validation import one_of, within
from harness.errors import RunError
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report


@dataclass(frozen=True)
class EvolutionConfig:
    """How prompts are chosen, rated and changed."""

    selection: SelectionName = "top_random"
    """Who plays: the highest score and random others, as in the experiments (E-SPL App. A.5)."""
    window: int = 10
    """K, the newest prompts that may be selected (E-SPL App. A.5)."""
    pool: int = 100
    """Prompts kept, first in first out; the released code's bound."""
    exploration: float = 2.0
    """λ of μ + λσ (E-SPL Eq. 4, App. A.5)."""
    widen: float = 1.0
    """Δσ, how much less is known of a child than of its parents (E-SPL App. A.5)."""
    crossover: float = 0.2
    """Probability of a crossover besides the mutation (E-SPL App. A.5)."""
    edits: int = 2
    """K_ops, edits per reflection (E-SPL App. A.5)."""
    tie: float = 0.0
    """Batch means that differ by no more than this are a draw; the released code takes 0.01."""
    noise: float = 0.0
    """Standard errors of their paired difference within which prompts draw. Not in the paper."""
    champion: ChampionName = "lower_bound"
    """Who is handed in: the highest μ − 2σ, the highest μ, or the newest (released code)."""
    finals: int = 0
    """Every so many rounds the best play on validation tasks, and the champion is chosen by these;
    0 for never. Not in the paper."""
    islands: int = 0
    """Populations that evolve apart, a round each in turn; 0 or 1 is one. Not in the paper."""
    max_principles: int = 30
    """Principles of a prompt at most. Not in the paper."""

    def __post_init__(self) -> None:
        one_of("selection", self.selection, selection.RULES)
        one_of("champion", self.champion, get_args(ChampionName))
        within("window", self.window, 1)
        within("pool", self.pool, self.window)
        within("exploration", self.exploration, 0)
        within("widen", self.widen, 0)
        within("crossover", self.crossover, 0, 1)
        within("edits", self.edits, 1, 20)
        within("tie", self.tie, 0)
        within("noise", self.noise, 0)
        within("finals", self.finals, 0)
        within("islands", self.islands, 0, 10)
        within("max_principles", self.max_principles, 1, 99)


class Evolution:
    """Evolution of system prompts by reflection on what they led to, with frozen weights."""

    def __init__(self, config: EvolutionConfig, inputs: MethodContext) -> None:
        self.config = config
        self.inputs = inputs
        self.population = Population.of(inputs.root)
        self.finals = ValidationRounds(config.finals, inputs.validation_tasks)

    def cast(self, round: Round) -> list[Assignment]:
        """Every selected prompt plays every task N times: one fair tournament (E-SPL Alg. 1).

        While there are fewer than M prompts, the newest plays the free places too, in groups of
        its own; it is rated once, by all it played.
        """
        config = self.config
        if self.finals.due(round):
            return self.finals.cast(round, self.population)
        window = islands.natives(self.population, config.islands, round.index, config.window)
        visitor = islands.guest(self.population, config.islands, round.index)
        guests = [visitor.prompt] if visitor and visitor not in window and round.prompts > 1 else []
        places, rule = round.prompts - len(guests), config.selection
        players = guests + selection.select(
            window, places, rule, config.exploration, round.rng("select")
        )
        newest, free = window[-1].prompt, round.prompts - len(players)
        seats = [(p, 0) for p in players] + [
            (newest, i * round.samples) for i in range(1, free + 1)
        ]
        return [
            Assignment(prompt, task, round.samples, first)
            for prompt, first in seats
            for task in round.tasks
        ]

    def learn(self, rollouts: Rollouts) -> Report:
        """Rate who played, then let the best have children (E-SPL Alg. 1)."""
        config, round = self.config, rollouts.round
        if self.finals.due(round):
            return Report(self.finals.learn(rollouts))
        scores = rollouts.scores()
        ratings = {m.prompt.id: m.rating for m in self.population}
        margins = None
        if config.noise:
            margins = {p: config.noise * e for p, e in paired_errors(rollouts).items()}
        self.population = self.population.rated(rate(ratings, scores, config.tie, margins))

        best = rollouts.winner()  # E-SPL Eq. 5
        if best is None:
            return Report(lines=("Nothing was scored, so there is nothing to reflect on.",))
        reflector = Reflector(
            self.inputs.reflector, self.inputs.reflection, round.seeds.child("reflect")
        )
        limits = EditLimits(config.edits, config.max_principles)
        births = [mutate(best, rollouts, reflector, limits)]
        if round.rng("crossover").random() < config.crossover:
            births.append(crossover(best, rollouts, reflector, limits))
        before = self.population
        self.population = before.admit(self._children(births, round.index), config.pool)
        born = sum(m.prompt.id not in before for m in self.population)
        numbers = {
            "best_score": scores[best.id],
            "children": float(born),
            "population": float(len(self.population)),
        }
        for member in self.population.window(config.window):
            numbers[f"mu/{member.prompt.id}"] = member.rating.mu
            numbers[f"sigma/{member.prompt.id}"] = member.rating.sigma
        return Report(numbers) | tally(births, reflector)

    def _children(self, births: Sequence[Birth], born: int) -> list[Member]:
        ratings = {m.prompt.id: m.rating for m in self.population}
        return [
            Member(b.child, inherit([ratings[p.id] for p in b.parents], self.config.widen), born)
            for b in births
            if b.child is not None
        ]

    def champion(self) -> Agent:
        """The best prompt by the ratings, with the policy as it is."""
        final = self.finals.champion(self.population)
        prompt = final or selection.champion(self.population, self.config.champion)
        return Agent(prompt, self.inputs.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """The population, and what finals came to."""
        return {"population": self.population.to_json(), "finals": self.finals.to_json()}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Take the population back; a damaged one is a run error."""
        records = state.get("population")
        if isinstance(records, str) or not isinstance(records, Sequence) or not records:
            raise RunError(
                "The checkpoint holds no population; was it written by another method? "
                "Resume it with the method in its resolved config."
            )
        self.population = Population.from_json(records)
        finals = state.get("finals")
        self.finals.restore(finals if isinstance(finals, Mapping) else {})


SPEC = MethodSpec(EvolutionConfig, Evolution, trains=False)
