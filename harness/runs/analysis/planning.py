"""Prediction of a run's cost and of the smallest difference that it could show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import agents
import envs
from harness import budget
from harness.budget import Shape
from harness.runs.analysis.cost_rates import Rates, rates
from harness.runs.analysis.memory import PlannedMemory, plan_memory
from harness.runs.analysis.prices import (
    PriceEstimate,
    PriceTable,
    longest_prompt,
    prompt_tokens,
    spending,
)
from harness.runs.entry import public_model
from harness.runs.envs import env_maker, takes_seed
from harness.settings.config import Config
from leaderboards.boards.formatting import counted, percent
from leaderboards.boards.model import ENOUGH_SEEDS
from leaderboards.records.entry import Entry
from leaderboards.records.store import Stored, find_entries
from leaderboards.stats.power import (
    ASSUMED,
    Design,
    DetectableDifference,
    Spread,
    contrast_spread,
    measured_spread,
    power,
    seeds_needed,
    smallest,
)
from leaderboards.stats.scores import result


@dataclass(frozen=True, slots=True)
class PlannedCost:
    """Predicted cost of all seeds of one method; `seconds` None: not known.

    `training_seconds` are those of the updates alone. `disk` is in bytes, checkpoints included.
    """

    method: str
    runs: int
    training_episodes: int
    test_episodes: int
    acting_tokens: float
    reflection_tokens: float
    evaluation_tokens: float
    seconds: float | None
    training_seconds: float | None
    disk: float
    basis: str


@dataclass(frozen=True, slots=True)
class Planned:
    """Predicted costs, detectable differences and warnings."""

    env: str
    model: str
    costs: tuple[PlannedCost, ...]
    design: Design
    spread: Spread
    spread_basis: str
    contrasts: int
    smallest: DetectableDifference
    warnings: tuple[str, ...]
    money: tuple[PriceEstimate, ...]
    prices: PriceTable | None
    memory: PlannedMemory

    @property
    def evaluation_share(self) -> float:
        """The share of all sampled tokens that evaluation takes."""
        testing = sum(c.evaluation_tokens for c in self.costs)
        training = sum(c.acting_tokens + c.reflection_tokens for c in self.costs)
        return testing / (testing + training) if testing + training else 0.0


def plan(
    requests: Sequence[Config],
    known: Sequence[Path],
    effect: float | None,
    prices: PriceTable | None = None,
) -> Planned:
    """The prediction for these configurations."""
    stored = find_entries(known).stored
    first = requests[0]
    env = env_maker(first)("train")
    try:
        train, test = env.size("train"), env.size("test")
        prompt = prompt_tokens(first, env)
    finally:
        env.close()
    tasks = min(first.evaluation.tasks or test, test)
    by_method: dict[str, list[Config]] = {}
    for request in requests:
        by_method.setdefault(request.method, []).append(request)
    seeds = len(next(iter(by_method.values())))
    own = takes_seed(first.env.name)
    design = Design(tasks, first.evaluation.samples, seeds, own_tasks=own)
    spread, basis = _spread(first, tuple(by_method), own, stored)
    contrasts = max(1, len(by_method) - 1)
    found = smallest(design, spread, contrasts)
    # The method that trains weights needs most; the others have the same model.
    trained = (mine[0] for mine in by_method.values() if agents.trains_weights(mine[0].method))
    memory = plan_memory(next(trained, first), longest_prompt(first, prompt))
    costs = tuple(
        _cost(mine, train, tasks, rates(mine[0], stored), memory.checkpoint)
        for mine in by_method.values()
    )
    warnings = _warnings(design, spread, contrasts, found, effect) if len(by_method) > 1 else ()
    return Planned(
        env=first.env.name,
        model=first.model_url,
        costs=costs,
        design=design,
        spread=spread,
        spread_basis=basis,
        contrasts=contrasts,
        smallest=found,
        warnings=tuple(warnings),
        money=tuple(_money(by_method[c.method][0], prompt, c, prices) for c in costs),
        prices=prices,
        memory=memory,
    )


def _cost(
    requests: Sequence[Config], train: int, tasks: int, known: Rates, checkpoint: int
) -> PlannedCost:
    one, runs = requests[0], len(requests)
    shape = Shape(one.budget.tasks, one.budget.prompts, one.budget.samples)
    episodes = one.budget.episodes if agents.spec(one.method).plays else 0
    fitted = budget.plan(episodes, shape, train)
    training = runs * fitted.rounds * fitted.shape.episodes
    testing = runs * tasks * one.evaluation.samples
    acting, reflecting = training * known.acting, training * known.reflecting
    evaluating = testing * known.evaluating
    tokens = acting + reflecting + evaluating
    return PlannedCost(
        method=one.method,
        runs=runs,
        training_episodes=training,
        test_episodes=testing,
        acting_tokens=acting,
        reflection_tokens=reflecting,
        evaluation_tokens=evaluating,
        seconds=None if known.seconds is None else tokens * known.seconds,
        training_seconds=None if known.training is None else training * known.training,
        disk=(training + testing) * known.disk
        + (runs * checkpoint if agents.trains_weights(one.method) else 0),
        basis=known.basis,
    )


def _money(
    request: Config, prompt: float, cost: PlannedCost, prices: PriceTable | None
) -> PriceEstimate:
    tokens = (cost.acting_tokens, cost.reflection_tokens, cost.evaluation_tokens)
    return spending(request, prompt, cost.training_episodes, cost.test_episodes, tokens, prices)


def _spread(
    request: Config, methods: Sequence[str], own: bool, stored: Sequence[Stored]
) -> tuple[Spread, str]:
    """The spread of the methods' differences from the first, measured, or else a guess.

    Differences vary between methods: E-SPL's scores spread several times as wide as those of RL. So
    only runs of these methods measure it, and the contrast that varies most is planned for.
    """
    env, model = envs.resolve(request.env.name), public_model(request.model_url)
    tracks: dict[str, list[Entry]] = {}
    for one in stored:
        if (one.entry.track.env, one.entry.track.model) == (env, model):
            tracks.setdefault(one.entry.track.id, []).append(one.entry)

    def order(pair: tuple[str, list[Entry]]) -> tuple[bool, int, str]:
        id, mine = pair
        # Ties go by id, so that the choice does not depend on the order of files.
        return mine[0].track.budget_episodes != request.budget.episodes, -len(mine), id

    reference, *others = methods
    guess = (ASSUMED, "assumed (a guess: no two methods of one Track were found to measure it in)")
    for id, mine in sorted(tracks.items(), key=order):
        runs = [result(entry) for entry in mine]
        found = [(contrast_spread(runs, other, reference, own), other) for other in others]
        known = [(spread, other) for spread, other in found if spread is not None]
        if others and len(known) == len(others):
            spread, other = max(known, key=lambda pair: pair[0].seed)
            widest = ", the contrast that varies most" if len(others) > 1 else ""
            seeds = len({e.seed for e in mine if e.method == other})
            text = f"of {other} − {reference}{widest}, measured over {counted(seeds, 'seed')}"
            return spread, f"{text} of Track {id}"
        pooled = measured_spread(runs)
        if pooled is not None and guess[0] is ASSUMED:
            missing = ", ".join(other for spread, other in found if spread is None)
            why = f", as fewer than three seeds there have both {missing} and {reference}"
            text = f"measured in {counted(len(mine), 'run')} of Track {id}, all methods pooled"
            guess = pooled, f"{text} (a guess{why if others else ''})"
    return guess


def _warnings(
    design: Design,
    spread: Spread,
    contrasts: int,
    found: DetectableDifference,
    effect: float | None,
) -> Iterator[str]:
    """Reasons why the asked comparison would fail."""
    if design.seeds < 2:
        yield "one seed says nothing about methods; give several, as in --seeds 0-4"
    elif found.method is None:
        seeds = counted(design.seeds, "seed")
        yield f"{seeds} cannot show any difference between methods; give more"
    elif design.seeds < ENOUGH_SEEDS:
        yield f"fewer than {ENOUGH_SEEDS} seeds make every row provisional"
    if effect is None or design.seeds < 2:
        return
    # Bonferroni: each contrast is tested at its share of 5 %.
    alpha = 0.05 / contrasts
    chance = power(effect, spread.sd_over_seeds(design), design.seeds, alpha)
    if chance < 0.8:
        enough = seeds_needed(replace(design), spread, effect, contrasts)
        more = f"it takes {enough} seeds" if enough else "no number of seeds up to 1,000 does"
        yield (
            f"a difference of {100 * effect:g} points would be found in {percent(chance)} of such "
            f"experiments; for 80 % {more}"
        )


def total(costs: Sequence[PlannedCost]) -> PlannedCost:
    """The cost of all methods together; its time is unknown if that of one is."""
    known = [c.seconds for c in costs if c.seconds is not None]
    trained = [c.training_seconds for c in costs if c.training_seconds is not None]
    return PlannedCost(
        method="all",
        runs=sum(c.runs for c in costs),
        training_episodes=sum(c.training_episodes for c in costs),
        test_episodes=sum(c.test_episodes for c in costs),
        acting_tokens=sum(c.acting_tokens for c in costs),
        reflection_tokens=sum(c.reflection_tokens for c in costs),
        evaluation_tokens=sum(c.evaluation_tokens for c in costs),
        seconds=sum(known) if len(known) == len(costs) else None,
        training_seconds=sum(trained) if len(trained) == len(costs) else None,
        disk=sum(c.disk for c in costs),
        basis="",
    )
