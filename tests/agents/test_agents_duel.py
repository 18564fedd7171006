"""Forget when stuck, selection by duel, and the newest prompt always in."""

from dataclasses import fields

import numpy as np
import pytest

from agents.espl import ESPL, ESPLConfig
from agents.espl_duel import ESPLDuel, ESPLDuelConfig
from agents.evolution import Evolution
from agents.parts.prompts.config import EvolutionConfig
from agents.parts.prompts.edits import Add, Modify, Remove, apply
from agents.parts.prompts.operators import EditLimits, crossover, forget
from agents.parts.prompts.population import Member
from agents.parts.prompts.reflector import Reflector
from agents.parts.prompts.selection import RULES, select
from harness.policies.base import Sampling
from harness.seeds import Seeds
from harness.types import Rating, SystemPrompt


def prompt(*principles):
    return SystemPrompt("Be brief.", principles)


WRONG = prompt("a", "wrong", "c")


def members(*rated):
    return [Member(p, Rating(mu, sigma)) for p, mu, sigma in rated]


def test_each_principle_is_forgotten_as_often_as_any_other():
    rng = np.random.default_rng(0)
    children = [forget(WRONG, rng).child.principles for _ in range(600)]
    counts = [children.count(p) for p in (("wrong", "c"), ("a", "c"), ("a", "wrong"))]
    assert sum(counts) == 600 and min(counts) > 150
    found = forget(WRONG, rng)
    assert found.child.parents == (WRONG.id,) and found.child.origin == "forget"
    assert forget(prompt(), rng).child is None


def stuck(stage, **settings):
    """An evolution whose only prompt has a wrong principle, after a round in which all fails."""
    method = Evolution(EvolutionConfig(crossover=0.0, **settings), stage.context())
    method.population = method.population.admit([Member(WRONG)], 100)
    stage.rounds(method, 1, lambda p, t, s: 0.0, prompts=2)
    return method


def test_without_the_setting_a_wrong_principle_stays(stage):
    assert len(stuck(stage).population) == 2


def test_where_no_problem_was_mixed_the_best_prompt_forgets_a_principle(stage):
    method = stuck(stage, when_stuck="forget")
    best, child = method.population.members[-2], method.population.newest
    assert len(method.population) == 3
    parent = method.population[child.prompt.parents[0]]
    assert len(child.prompt.principles) == len(parent.prompt.principles) - 1
    assert set(child.prompt.principles) < set(parent.prompt.principles)
    # Like any offspring it inherits μ, with a larger σ.
    assert child.rating.mu == parent.rating.mu
    assert child.rating.sigma > parent.rating.sigma
    assert best.prompt != child.prompt


def test_where_reflection_gave_something_new_nothing_is_forgotten(stage):
    def grown(**settings):
        method = Evolution(EvolutionConfig(crossover=0.0, **settings), stage.context())
        stage.rounds(method, 2, lambda p, t, s: float(s == 0))
        return method.population

    plain = grown()
    assert len(plain) > 1
    assert grown(when_stuck="forget") == plain


def test_a_forgotten_principle_can_be_what_wins(stage):
    method = Evolution(ESPLDuelConfig(crossover=0.0), stage.context())
    method.population = method.population.admit([Member(WRONG)], 100)
    stage.rounds(method, 12, lambda p, t, s: float("wrong" not in p.principles), prompts=2)
    assert "wrong" not in method.final_agent().prompt.principles


def test_the_named_method_is_the_two_settings_and_nothing_else(stage):
    duel, plain = ESPLDuelConfig(), ESPLConfig()
    differing = {f.name for f in fields(plain) if getattr(duel, f.name) != getattr(plain, f.name)}
    assert differing == {"selection", "when_stuck"}
    assert (duel.selection, duel.when_stuck) == ("lucb", "forget")

    def state(kind, config):
        method = kind(config, stage.context(stage.LearningPolicy()))
        stage.rounds(method, 4)
        return method.state()

    named = state(ESPLDuel, ESPLDuelConfig())
    assert named == state(ESPL, ESPLConfig(selection="lucb", when_stuck="forget"))


@pytest.mark.parametrize("rule", RULES)
def test_the_newest_is_always_in_where_asked(rule):
    window = members(*((prompt(str(n)), 30.0 - 3 * n, 1.0) for n in range(6)))
    newest = window[-1].prompt
    without = 0
    for seed in range(50):
        chosen = select(window, 3, rule, 2.0, np.random.default_rng(seed), True)
        assert newest in chosen
        assert len({p.id for p in chosen}) == 3
        without += newest not in select(window, 3, rule, 2.0, np.random.default_rng(seed))
    assert (without == 0) == (rule == "newest_uniform")
    assert select(window[:1], 3, rule, 2.0, np.random.default_rng(0), True) == [window[0].prompt]


def test_without_it_the_draws_are_those_of_before():
    window = members(*((prompt(str(n)), 25.0, 1.0) for n in range(6)))
    for rule in RULES:
        old = [window[i].prompt for i in RULES[rule](window, 3, 2.0, np.random.default_rng(4))]
        assert select(window, 3, rule, 2.0, np.random.default_rng(4)) == old


def test_of_conflicting_edits_the_first_or_the_last_takes_effect():
    edits = [Modify(1, "x"), Add("new"), Modify(1, "y"), Remove(2), Modify(2, "z")]
    last = EditLimits(conflicts="last").settled(edits)
    assert last == [Add("new"), Modify(1, "y"), Modify(2, "z")]
    assert EditLimits().settled(edits) == edits
    assert apply(("a", "b"), last)[0] == ("y", "z", "new")
    assert apply(("a", "b"), edits)[0] == ("x", "new")


@pytest.mark.parametrize(("limit", "kept"), [(0, 2), (3, 3), (99, 4)])
def test_a_crossover_has_a_limit_of_its_own(stage, limit, kept):
    replies = "\n".join(f"ADD: rule {n}" for n in range(4))
    one, other = prompt("a"), prompt("b")
    rollouts = stage.table({one: [[1, 1], [0, 0]], other: [[0, 0], [1, 0]]})
    model = stage.LearningPolicy(lambda request: replies)
    reflector = Reflector(model, Sampling(1.0, 1.0, 99), Seeds(1))
    found = crossover(one, rollouts, reflector, EditLimits(crossover=limit))
    assert len(found.applied) == kept
