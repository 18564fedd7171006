"""E-SPL beyond the paper, off by default: noise-aware draws, Thompson, niching, finals, islands."""

import json
import math

import numpy as np
import pytest

from agents.espl import ESPL, ESPLConfig
from agents.evolution import Evolution
from agents.parts.prompts.config import EvolutionConfig
from agents.parts.prompts.islands import island_members, migrant
from agents.parts.prompts.population import Member, Population
from agents.parts.prompts.selection import niching, similarity, thompson
from agents.parts.prompts.trueskill import paired_errors, ranks, rate
from harness.errors import UsageError
from harness.types import Rating, SystemPrompt


def prompt(*principles):
    return SystemPrompt("Be brief.", principles)


A, B, C = prompt("a"), prompt("b"), prompt("a", "c")


def test_the_paired_error_by_hand(stage):
    # Task 0: 1, 0 against 1, 1: variance 3/16; task 1: all equal, variance 0.
    rollouts = stage.table({A: [[1, 0], [1, 1]], B: [[1, 1], [1, 1]]})
    error = math.sqrt(3 / 16 * (1 / 2 + 1 / 2)) / 2
    assert paired_errors(rollouts) == {frozenset((A.id, B.id)): pytest.approx(error)}


def test_a_hard_and_an_easy_task_are_no_noise(stage):
    rollouts = stage.table({A: [[1, 1], [0, 0]], B: [[1, 1], [0, 0]]})
    assert set(paired_errors(rollouts).values()) == {0.0}


def test_who_is_within_the_noise_draws(stage):
    scores = {A.id: 0.75, B.id: 1.0}
    ratings = dict.fromkeys(scores, Rating())
    pair = frozenset((A.id, B.id))
    assert rate(ratings, scores, 0.0, {pair: 0.3}) == rate(ratings, dict.fromkeys(scores, 1.0))
    assert rate(ratings, scores, 0.0, {pair: 0.2}) == rate(ratings, scores)
    assert ranks([0.5, 0.4, 0.1], 0.0, lambda i, j: 0.15) == [0, 0, 1]


def test_equal_prompts_mostly_draw_with_noise_and_mostly_do_not_without(stage):
    rng = np.random.default_rng(5)
    draws = {0.0: 0, 1.0: 0}
    for _ in range(100):
        rows = [[rng.integers(0, 2, 5).tolist() for _ in range(4)] for _ in range(2)]
        rollouts = stage.table({A: rows[0], B: rows[1]})
        scores, errors = rollouts.scores(), paired_errors(rollouts)
        for noise in draws:
            margin = noise * errors[frozenset((A.id, B.id))]

            def same(i, j, margin=margin):
                return margin

            draws[noise] += ranks(list(scores.values()), 0.0, same) == [0, 0]
    assert draws[0.0] < 25
    assert draws[1.0] > 50


def test_evolution_rates_with_noise_where_asked(stage):
    def rated(noise):
        method = Evolution(EvolutionConfig(noise=noise, crossover=0.0), stage.context())
        method.population = method.population.admit([Member(B)], 100)
        reward = lambda p, t, s: float(s < (2 if p == B else 1))  # noqa: E731
        stage.rounds(method, 1, reward, prompts=2)
        return method.population[B.id].rating.mu

    assert rated(0.0) > 25
    assert rated(9.0) == pytest.approx(25)


def members(*rated):
    return [Member(p, Rating(mu, sigma)) for p, mu, sigma in rated]


def test_thompson_plays_as_often_as_a_prompt_may_be_best():
    window = members((A, 25, 3), (B, 25, 3), (C, 20, 0.001))
    rng = np.random.default_rng(0)
    first = [thompson(window, 1, 2.0, rng)[0] for _ in range(2000)]
    assert first.count(0) / 2000 == pytest.approx(first.count(1) / 2000, abs=0.05)
    assert first.count(2) / 2000 < 0.02
    assert sorted(thompson(window, 3, 2.0, rng)) == [0, 1, 2]


def test_a_niche_prefers_who_is_unlike_to_who_is_a_little_better():
    window = members((A, 25, 0), (B, 21, 0), (C, 22, 0), (prompt("z"), 15, 0))
    # C shares half of its principles with A: 8 / 1.5 is less than B's 7.
    assert similarity(window[2], window[0]) == 0.5
    assert niching(window, 2, 0.0, np.random.default_rng(0)) == [0, 1]
    assert niching(window, 3, 0.0, np.random.default_rng(0)) == [0, 1, 2]


@pytest.mark.parametrize("rule", ["thompson", "niching"])
def test_evolution_plays_by_the_rule(stage, rule):
    method = Evolution(EvolutionConfig(selection=rule), stage.context())
    stage.rounds(method, 4)
    assert len(method.population) > 2


def test_finals_are_played_on_validation_by_the_best(stage):
    config = EvolutionConfig(revalidation=2, crossover=0.0)
    method = Evolution(config, stage.context(validation_tasks=50))
    stage.rounds(method, 1)
    before = method.population
    round = stage.round(1, tasks=3, prompts=3, samples=4)
    casts = method.assign(round)
    assert {c.task.split for c in casts} == {"validation"}
    assert len({c.task for c in casts}) == 3
    assert all(0 <= c.task.seed < 50 for c in casts)
    assert {c.prompt for c in casts} == {stage.root}  # the child has not played yet
    assert sum(c.samples for c in casts) == 36
    report = method.learn(stage.play(round, casts, lambda p, t, s: 0.25))
    assert method.population == before  # no rating, no child
    assert report.metrics == {f"final/{stage.root.id}": 0.25}


def test_the_champion_is_who_did_best_in_finals(stage):
    config = EvolutionConfig(revalidation=2, crossover=0.0)
    method = Evolution(config, stage.context(validation_tasks=50))
    method.population = method.population.admit([Member(B, Rating(40, 1), 0, 3)], 100)
    assert method.final_agent().prompt == B
    method.validation.rewards = {stage.root.id: (9.0, 10), B.id: (1.0, 10)}
    assert method.final_agent().prompt == stage.root
    again = Evolution(config, stage.context(validation_tasks=50))
    again.restore(json.loads(json.dumps(method.state())))
    assert again.final_agent() == method.final_agent()
    assert again.state() == method.state()


def test_espl_does_not_train_on_finals(stage):
    policy = stage.LearningPolicy()
    method = ESPL(ESPLConfig(revalidation=1), stage.context(policy, validation_tasks=9))
    stage.rounds(method, 2)
    assert policy.updates == []


def test_finals_without_validation_tasks_are_refused(stage):
    with pytest.raises(UsageError, match=r"leave out method\.revalidation"):
        Evolution(EvolutionConfig(revalidation=3), stage.context())


def test_there_are_no_more_finals_tasks_than_the_world_has(stage):
    method = Evolution(EvolutionConfig(revalidation=1), stage.context(validation_tasks=2))
    casts = method.assign(stage.round(tasks=4, prompts=1, samples=2))
    assert sorted(c.task.seed for c in casts) == [0, 1]


def child(text, generation, mu=25.0, evaluations=1):
    lived = SystemPrompt("Be brief.", (text,), parents=(A.id,), origin="mutation")
    return Member(lived, Rating(mu, 1.0), generation, evaluations)


def test_an_island_is_who_was_born_there_and_the_root():
    root, even, odd = Member(prompt()), child("even", 4), child("odd", 7)
    population = Population((root, even, odd))
    assert island_members(population, 2, 10, 10) == (root, even)
    assert island_members(population, 2, 11, 10) == (root, odd)
    assert island_members(population, 2, 11, 1) == (odd,)
    assert (
        island_members(population, 0, 11, 10)
        == island_members(population, 1, 11, 10)
        == (root, even, odd)
    )
    assert island_members(Population((even,)), 2, 11, 10) == (even,)  # nobody is left: all play


def test_every_fifth_turn_the_best_who_played_elsewhere_is_a_guest():
    known, better, unseen = child("a", 1, 26), child("b", 3, 30), child("c", 5, 99, evaluations=0)
    population = Population((Member(prompt()), child("d", 0, 40), known, better, unseen))
    visits = [r for r in range(20) if migrant(population, 2, r) is not None]
    assert visits == [8, 9, 18, 19]
    assert migrant(population, 2, 8) == better
    assert migrant(population, 2, 9).prompt.principles == ("d",)
    assert migrant(population, 0, 8) is None
    assert migrant(Population((Member(prompt()), unseen)), 2, 8) is None


def test_islands_share_nothing_but_the_root_and_guests(stage):
    method = Evolution(EvolutionConfig(islands=2, crossover=0.0), stage.context())
    stage.rounds(method, 20)
    home = {m.prompt.id: m.generation % 2 for m in method.population if m.prompt.parents}
    assert {0, 1} == set(home.values())
    abroad = [
        m.generation
        for m in method.population
        if (m.prompt.parents and (first := m.prompt.parents[0]) in home)
        and home[first] != home[m.prompt.id]
    ]
    assert set(abroad) <= {8, 9, 18, 19}


def test_a_guest_plays_and_takes_one_place(stage):
    method = Evolution(EvolutionConfig(islands=2), stage.context())
    visitor = child("abroad", 1, 40)
    method.population = method.population.admit([visitor, child("home", 2)], 100)
    casts = method.assign(stage.round(8, tasks=2, prompts=2, samples=2))
    assert visitor.prompt in {c.prompt for c in casts}
    assert len({c.prompt for c in casts}) == 2
    alone = method.assign(stage.round(8, tasks=2, prompts=1, samples=2))
    assert visitor.prompt not in {c.prompt for c in alone}
