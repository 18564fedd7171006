"""Both halves of the method, each shown to learn by itself, together, and to stop learning when it
is broken. Real runs of the embedded model; each assertion is broken by the sabotage named for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

import agents.evolution
import agents.rl
from agents.parts.prompts import operators
from agents.parts.prompts.trueskill import rate
from agents.parts.rl.training_samples import training_samples
from benchmarks.pocket.ablate import knowledge, rank_correlation
from benchmarks.pocket.playing import Setting, opened, score, trained
from harness.budget import Shape
from harness.types import Agent

MODEL = "hf:harness/policies/pocket"


@dataclass(frozen=True)
class Learnt:
    """What a run came to: cells in points, the rounds' mean rewards, and the ratings' order."""

    cells: dict[str, float]
    rewards: list[float]
    rho: float | None
    knowledge: float


def learn(setting: Setting, *cells: str, frozen_sampler: bool = False) -> Learnt:
    """Train and score only the cells asked for: {base, trained} {root, evolved}."""
    policy = opened(setting)
    if frozen_sampler:
        policy.generate = policy.reference.generate  # type: ignore[method-assign, attr-defined]
    rewards: list[float] = []
    method = trained(setting, policy, lambda _, mean, __: rewards.append(mean))
    prompts = {"root": setting.root or setting.prompts()[0], "evolved": method.final_agent().prompt}
    found = {}
    for cell in cells:
        weights, prompt = cell.split()
        player: Any = policy.reference if weights == "base" else policy  # type: ignore[attr-defined]
        found[cell] = 100 * score(setting, player, Agent(prompts[prompt], player.version), 1)
    truth = setting.world_of("train").convention
    rho = rank_correlation(method, truth) if setting.method != "rl" else None
    return Learnt(found, rewards, rho, knowledge(prompts["evolved"], truth))


SKILL = Setting("shown", MODEL, "rl", 1, 6, Shape(8, 2, 5), options={"learning_rate": 6e-3})
WORDS = Setting("told", MODEL, "evolution", 1, 10, Shape(8, 2, 5))
JOINT = Setting("both", MODEL, "espl", 1, 15, Shape(8, 2, 5), options={"learning_rate": 3e-3})


@cache
def practised() -> Learnt:
    """RL alone, where only skill is missing."""
    return learn(SKILL, "base root", "trained root")


@cache
def told() -> Learnt:
    """Evolution alone, where only knowledge is missing."""
    return learn(WORDS, "base root", "base evolved")


@cache
def joined() -> Learnt:
    """Both halves, where both are missing."""
    return learn(JOINT, "trained root", "base evolved", "trained evolved")


def skilled(found: Learnt) -> bool:
    """Trained weights do better than base weights under the same root prompt."""
    return found.cells["trained root"] > found.cells["base root"] + 15


def informed(found: Learnt) -> bool:
    """The evolved prompt does better than the root prompt under the same base weights."""
    return found.cells["base evolved"] > found.cells["base root"] + 20


def practising(found: Learnt) -> bool:
    """Rewards rise while it trains: what is sampled comes from what was learnt."""
    third = len(found.rewards) // 3
    return sum(found.rewards[-third:]) > sum(found.rewards[:third]) + 0.2 * third


def test_what_was_practised_is_in_the_weights() -> None:
    assert skilled(practised()), practised()


def test_rewards_rise_while_it_practises() -> None:
    assert practising(practised()), practised()


def test_what_was_told_is_in_the_prompt() -> None:
    assert informed(told()), told()


def test_both_together_do_better_than_either() -> None:
    cells = joined().cells
    assert cells["trained evolved"] > max(cells["trained root"], cells["base evolved"]) + 10, cells


def test_ratings_order_prompts_as_an_oracle_would() -> None:
    rhos = [one.rho for one in (told(), joined())]
    assert all(rho is not None for rho in rhos)
    assert sum(rho or 0.0 for rho in rhos) / 2 > 0.4, rhos


def test_sabotage_advantages_with_the_wrong_sign_teach_no_skill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = training_samples

    def flipped(*args: Any) -> Any:
        batch = honest(*args)
        samples = [replace(sample, advantage=-sample.advantage) for sample in batch.samples]
        return replace(batch, samples=samples)

    monkeypatch.setattr(agents.rl, "training_samples", flipped)
    assert not skilled(learn(replace(SKILL, rounds=3), "base root", "trained root"))


def test_sabotage_a_frozen_adapter_learns_no_skill() -> None:
    frozen = replace(SKILL, rounds=2, options={"learning_rate": 0.0})
    assert not skilled(learn(frozen, "base root", "trained root"))


def test_sabotage_a_sampler_that_never_hears_of_updates_shows_no_progress() -> None:
    assert not practising(learn(SKILL, frozen_sampler=True))


def test_sabotage_dropped_edits_inform_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "apply", lambda principles, edits: (tuple(principles), ()))
    assert not informed(learn(replace(WORDS, rounds=4), "base root", "base evolved"))


def test_sabotage_swapped_results_spoil_the_order_of_the_ratings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = rate

    def swapped(ratings: Any, scores: Any, *others: Any) -> Any:
        values = list(scores.values())
        return honest(ratings, dict(zip(scores, values[1:] + values[:1], strict=True)), *others)

    monkeypatch.setattr(agents.evolution, "rate", swapped)
    spoilt = learn(WORDS)
    assert (spoilt.rho or 0.0) < 0.3, spoilt
