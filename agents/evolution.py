"""Prompt evolution: what can be put into words goes into the system prompt (E-SPL §3, Alg. 1–2)."""

from collections.abc import Mapping, Sequence

from agents.context import MethodContext, MethodSpec
from agents.parts.prompts.config import EvolutionConfig
from agents.parts.prompts.islands import candidates
from agents.parts.prompts.operators import (
    EditLimits,
    OperatorResult,
    crossover,
    forget,
    mutate,
)
from agents.parts.prompts.population import Member, Population
from agents.parts.prompts.reflector import Reflector
from agents.parts.prompts.round_report import evolution_report
from agents.parts.prompts.selection import select, select_final, tournament
from agents.parts.prompts.trueskill import inherit, rate, tie_margins
from agents.parts.prompts.validation_rounds import ValidationRounds
from harness.round_data import Rollouts, Round
from harness.types import JSON, Agent, Assignment, Report


class Evolution:
    """Evolution of system prompts by reflection on their rollouts; it never changes weights."""

    def __init__(self, config: EvolutionConfig, context: MethodContext) -> None:
        self.config = config
        self.context = context
        self.population = Population.of(context.initial_prompt)
        self.validation = ValidationRounds(config.revalidation, context.validation_tasks)

    def assign(self, round: Round) -> list[Assignment]:
        """Select M prompts; each attempts every task N times, with the same weights (Alg. 1)."""
        if self.validation.due(round):
            return self.validation.assign(round, self.population)
        config = self.config
        # Only the newest K compete: a sliding window keeps the comparison among rivals of one age.
        window, migrants = candidates(self.population, config.islands, round, config.newest_k)
        prompts = migrants + select(  # by default the highest μ + λσ, the rest uniform (App. A.5)
            window,
            round.prompts - len(migrants),
            config.selection,
            config.ucb_lambda,
            round.rng("select"),
            config.always_newest,
        )
        # While there are fewer than M prompts, the newest also takes the places that are left.
        return tournament(prompts, window[-1].prompt, round.tasks, round)

    def learn(self, rollouts: Rollouts) -> Report:
        """Rate the prompts by their mean rewards, then let the best one have offspring (Alg. 1)."""
        config, round = self.config, rollouts.round
        if self.validation.due(round):
            return Report(self.validation.learn(rollouts))

        # Rate: one TrueSkill free-for-all, ranked by each prompt's mean reward V (§3, App. B).
        ratings = {m.prompt.id: m.rating for m in self.population}
        margins = tie_margins(rollouts, config.noise)
        self.population = self.population.rated(
            rate(ratings, rollouts.scores(), config.draw_margin, margins)
        )
        best = rollouts.best_prompt()  # k = argmax V (Eq. 5)
        if best is None:
            return Report(lines=("Nothing was scored, so there is nothing to reflect on.",))

        # Mutate the best prompt by reflecting on its own rollouts (§3, App. A.1–A.5).
        reflector = Reflector(
            self.context.reflection_model,  # π_ref: the initial weights unless set otherwise
            self.context.reflection_sampling,
            round.seeds.child("reflect"),
        )
        limits = EditLimits(
            config.edits, config.max_principles, config.crossover_edits, config.conflicts
        )
        results = [mutate(best, rollouts, reflector, limits)]
        # In addition, with probability p: take over what rivals alone knew (Alg. 2).
        if round.rng("crossover").random() < config.crossover:
            results.append(crossover(best, rollouts, reflector, limits))

        # Ours: where reflection gave nothing new, the best prompt without one of its principles.
        if config.when_stuck == "forget" and not self._has_new(results):
            results.append(forget(best, round.rng("forget")))

        # Offspring join the population, and the oldest members leave it (Alg. 1).
        before = self.population
        self.population = before.admit(self._offspring(results, round), config.archive_size)
        return evolution_report(
            before, self.population, config.newest_k, rollouts, results, reflector
        )

    def _has_new(self, results: Sequence[OperatorResult]) -> bool:
        """True if an operator gave a prompt that is not in the population."""
        return any(r.child is not None and r.child.id not in self.population for r in results)

    def _offspring(self, results: Sequence[OperatorResult], round: Round) -> list[Member]:
        """The operators' offspring; each inherits its parents' rating, with a larger σ (App. A)."""
        ratings = {m.prompt.id: m.rating for m in self.population}
        inflation = self.config.sigma_inflation
        return [
            Member(r.child, inherit([ratings[p.id] for p in r.parents], inflation), round.index)
            for r in results
            if r.child is not None
        ]

    def final_agent(self) -> Agent:
        """The prompt with the highest μ − 2σ by default, with the current weights."""
        prompt = self.validation.best(self.population) or select_final(
            self.population, self.config.final_prompt
        )
        return Agent(prompt, self.context.policy.version)

    def state(self) -> Mapping[str, JSON]:
        """The population, and the rewards of validation rounds."""
        # The key is the old name of validation rounds: checkpoints have it.
        return {"population": self.population.to_json(), "finals": self.validation.to_json()}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Restore both; a damaged population is a run error."""
        self.population = Population.from_json(state.get("population"))
        self.validation.restore(state.get("finals"))


SPEC = MethodSpec(EvolutionConfig, Evolution, trains=False)
