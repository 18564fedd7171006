"""The five methods: who is cast, what is learnt, what is handed in."""

import json
import threading

import pytest

import agents
from agents.base import Base, BaseConfig
from agents.espl import ESPL, ESPLConfig
from agents.evolution import Evolution
from agents.parts.prompts.config import EvolutionConfig
from agents.parts.prompts.trueskill import inherit, rate
from agents.reflection import Reflection, ReflectionConfig
from harness.errors import RunError
from harness.policies.scripted import ScriptedPolicy
from harness.types import Rating, SystemPrompt


@pytest.mark.parametrize("name", [n for n in agents.METHODS if n != "base"])
def test_every_method_plays_the_rounds_episodes_and_no_sample_twice(stage, name):
    method = agents.make(name, agents.config_type(name)(), stage.context())
    for index in range(4):
        round = stage.round(index, tasks=3, prompts=3, samples=5)
        casts = method.assign(round)
        assert sum(c.samples for c in casts) == 45
        evaluations = [(c.prompt.id, c.task, c.first + i) for c in casts for i in range(c.samples)]
        assert len(set(evaluations)) == 45
        method.learn(stage.play(round, casts, stage.solves))


def test_base_casts_nobody_and_learns_nothing(stage):
    method = Base(BaseConfig(), stage.context())
    assert method.assign(stage.round()) == []
    assert method.final_agent().prompt == stage.root


def test_a_lone_root_fills_every_place_in_separate_groups(stage):
    method = Evolution(EvolutionConfig(), stage.context())
    casts = method.assign(stage.round(tasks=2, prompts=3, samples=4))
    root = stage.root.id
    expected = [(root, t, 4, first) for first in (0, 4, 8) for t in (0, 1)]
    assert stage.cells(casts) == expected


def test_the_newest_fills_free_places_and_is_rated_once(stage):
    method = Evolution(EvolutionConfig(crossover=0.0), stage.context())
    stage.rounds(method, 1)
    child = method.population.newest.prompt
    round = stage.round(1, tasks=1, prompts=3, samples=4)
    casts = method.assign(round)
    assert sorted(stage.cells(casts)) == sorted(
        [(stage.root.id, 10, 4, 0), (child.id, 10, 4, 0), (child.id, 10, 4, 4)]
    )
    before = {m.prompt.id: m.rating for m in method.population}
    method.learn(stage.play(round, casts, stage.solves))
    after = rate(before, {stage.root.id: 0.25, child.id: 0.75})
    assert {i: method.population[i].rating for i in before} == after
    assert [m.evaluations for m in method.population][:2] == [2, 1]


def test_evolution_mutates_the_winner_and_its_child_inherits(stage):
    method = Evolution(EvolutionConfig(crossover=0.0, sigma_inflation=2.0), stage.context())
    stage.rounds(method, 2)
    first, second = method.population.members[1:3]
    assert second.prompt.parents == (first.prompt.id,)
    assert second.rating == inherit([first.rating], 2.0)
    assert (second.generation, second.evaluations) == (1, 0)


def test_the_parent_is_the_batchs_best_and_not_the_last_one_played(stage):
    method = Evolution(EvolutionConfig(crossover=0.0), stage.context())
    stage.rounds(method, 1)
    child = method.population.newest.prompt
    # From now on the root does better, and the child is played too.
    reward = lambda p, t, s: float(s % 4 < (3 if p == stage.root else 1))  # noqa: E731
    stage.rounds(method, 1, reward, start=1)
    newest = method.population.newest.prompt
    assert newest.id != child.id
    assert newest.parents == (stage.root.id,)


def test_crossover_comes_with_its_probability(stage):
    origins = []
    for probability in (0.0, 0.3, 1.0):
        config = EvolutionConfig(crossover=probability, archive_size=1000)
        method = Evolution(config, stage.context())
        # Who wins which problem depends on the prompt's id, so that crossovers find evidence.
        reward = lambda p, t, s: float((int(p.id, 16) + t + s) % 3 == 0)  # noqa: E731
        reports = stage.rounds(method, 60, reward)
        tried = [r for r in reports if any("crossover" in line for line in r.lines)]
        generation = [m for m in method.population if m.prompt.origin == "crossover"]
        origins.append(len(generation) + len(tried))
    assert origins[0] == 0
    assert 0 < origins[1] < origins[2]


def test_a_crossings_child_inherits_from_all_its_parents(stage):
    script = {"crossover": "ADD: Borrowed advice.", "propose": "NONE"}
    reflector = ScriptedPolicy(
        lambda request: script.get(stage.stage(request), stage.reflect(request))
    )
    method = Evolution(EvolutionConfig(crossover=1.0), stage.context(reflector=reflector))
    other = SystemPrompt("Be brief.", ("Other.",))
    from agents.parts.prompts.population import Member

    method.population = method.population.admit([Member(other, Rating(20, 3))], 100)
    reward = lambda p, t, s: float((p == other) == (t % 2 == 1) and s < (3 if t % 2 else 4))  # noqa: E731
    stage.rounds(method, 1, reward, prompts=2)
    child = method.population.newest
    assert child.prompt.origin == "crossover"
    assert child.prompt.parents == (stage.root.id, other.id)
    parents = [method.population[i].rating for i in child.prompt.parents]
    assert child.rating == inherit(parents, 1.0)


def test_evolution_finds_the_principle_that_helps(stage):
    method = Evolution(EvolutionConfig(), stage.context())
    reports = stage.rounds(method, 6)
    best = method.final_agent().prompt
    assert len(best.principles) > 3
    assert method.population[best.id].evaluations
    assert reports[0].metrics["edits_applied"] == 2
    assert reports[0].metrics["best_score"] == 0.25
    assert any(line.startswith("child ") and "ADD: Advice" in line for line in reports[0].lines)


def test_without_usable_edits_nothing_is_admitted_and_the_report_says_so(stage):
    method = Evolution(EvolutionConfig(), stage.context(reflector=ScriptedPolicy(lambda r: "???")))
    (report,) = stage.rounds(method, 1)
    assert len(method.population) == 1
    assert report.metrics["children"] == 0
    assert report.metrics["edits_applied"] == 0
    assert report.metrics["replies_not_understood"] == 2
    assert "no usable edit" in report.lines[0]


def test_where_nothing_was_scored_evolution_waits(stage):
    method = Evolution(EvolutionConfig(), stage.context())
    (report,) = stage.rounds(method, 1, lambda p, t, s: None)
    assert "Nothing was scored" in report.lines[0]
    assert method.population[stage.root.id].rating == Rating()


def test_the_pool_is_bounded_first_in_first_out(stage):
    method = Evolution(EvolutionConfig(newest_k=2, archive_size=2, crossover=0.0), stage.context())
    stage.rounds(method, 3, lambda p, t, s: float(s % 2))
    assert len(method.population) == 2
    assert stage.root.id not in method.population


def test_reflection_replaces_its_prompt_better_or_not(stage):
    method = Reflection(ReflectionConfig(), stage.context())
    worse = lambda p, t, s: float(s % 4 >= len(p.principles))  # noqa: E731
    prompts = [method.prompt]
    for index in range(2):
        stage.rounds(method, 1, worse, start=index, tasks=1)
        prompts.append(method.prompt)
    assert prompts[1].parents == (prompts[0].id,)
    assert prompts[2].parents == (prompts[1].id,)
    assert method.final_agent().prompt == prompts[2]
    assert {c.prompt for c in method.assign(stage.round(2))} == {prompts[2]}


def test_reflection_keeps_its_prompt_where_nothing_can_be_concluded(stage):
    method = Reflection(ReflectionConfig(), stage.context())
    stage.rounds(method, 1, lambda p, t, s: 1.0)
    assert method.prompt == stage.root


def test_espl_learns_both_halves_from_the_same_rollouts(stage):
    policy = stage.LearningPolicy()
    config = ESPLConfig(crossover=0.0, learning_rate=2e-5)
    method = ESPL(config, stage.context(policy))
    (report,) = stage.rounds(method, 1)
    alone = Evolution(EvolutionConfig(crossover=0.0), stage.context())
    stage.rounds(alone, 1)
    assert method.evolution.population == alone.population
    ((samples, _, step),) = policy.updates
    assert len(samples) == 24
    assert step.learning_rate == 2e-5
    assert {round(s.advantage, 9) for s in samples} == {0.75, -0.25}
    assert report.metrics["edits_applied"] == 2
    assert report.metrics["loss"] == 0.5
    assert method.final_agent().policy_version == 1


def test_a_prompts_merit_is_not_mistaken_for_a_replys(stage):
    policy = stage.LearningPolicy()
    method = ESPL(ESPLConfig(crossover=0.0), stage.context(policy))
    stage.rounds(method, 1)
    # Every prompt but the root is always right: no reply is better than its own group.
    stage.rounds(method, 1, lambda p, t, s: float(p != stage.root), start=1)
    assert len(policy.updates) == 1
    over = stage.LearningPolicy()
    method = ESPL(ESPLConfig(crossover=0.0, baseline="problem"), stage.context(over))
    stage.rounds(method, 1)
    stage.rounds(method, 1, lambda p, t, s: float(p != stage.root), start=1)
    assert len(over.updates) == 2


def test_a_live_reflector_speaks_before_the_weights_change(stage):
    policy = stage.LearningPolicy()
    versions = set()

    def reply(request):
        versions.add(policy.version)
        return stage.reflect(request)

    method = ESPL(ESPLConfig(), stage.context(policy, ScriptedPolicy(reply)))
    stage.rounds(method, 1)
    assert versions == {0}
    assert policy.version == 1


def test_a_separate_reflector_works_beside_the_gradient_with_the_same_result(stage):
    results = []
    for separate in (False, True):
        threads: set[bool] = set()

        def reply(request, threads=threads):
            threads.add(threading.current_thread() is threading.main_thread())
            return stage.reflect(request)

        policy = stage.LearningPolicy()
        given = stage.context(policy, ScriptedPolicy(reply), can_reflect_concurrently=separate)
        method = ESPL(ESPLConfig(), given)
        reports = stage.rounds(method, 3)
        assert threads == {not separate}
        taught = [samples for samples, _, _ in policy.updates]
        results.append((method.state(), reports, taught))
    assert results[0] == results[1]


def test_a_failure_on_either_side_is_raised(stage):
    def broken(request):
        raise ConnectionError("endpoint gone")

    given = stage.context(reflector=ScriptedPolicy(broken), can_reflect_concurrently=True)
    with pytest.raises(ConnectionError, match="endpoint gone"):
        stage.rounds(ESPL(ESPLConfig(), given), 1)


@pytest.mark.parametrize("name", agents.METHODS)
def test_a_resumed_method_goes_on_as_if_never_stopped(stage, name):
    def fresh():
        return agents.make(name, agents.config_type(name)(), stage.context())

    whole, first, second = fresh(), fresh(), fresh()
    stage.rounds(whole, 6)
    stage.rounds(first, 3)
    second.restore(json.loads(json.dumps(first.state())))
    stage.rounds(second, 3, start=3)
    assert second.state() == whole.state()
    assert second.final_agent().prompt == whole.final_agent().prompt


@pytest.mark.parametrize("name", ["reflection", "evolution", "espl"])
def test_another_methods_state_is_refused(stage, name):
    method = agents.make(name, agents.config_type(name)(), stage.context())
    with pytest.raises(RunError, match="written by another method"):
        method.restore({"population": [], "prompt": "text"})


def test_casting_is_a_function_of_the_round_and_its_seeds(stage):
    method = Evolution(EvolutionConfig(crossover=0.0), stage.context())
    stage.rounds(method, 8, lambda p, t, s: float(s % 2))
    assert len(method.population) > 5
    one = [stage.cells(method.assign(stage.round(9, seed=1))) for _ in range(2)]
    assert one[0] == one[1]
    assert len({tuple(stage.cells(method.assign(stage.round(9, seed=s)))) for s in range(9)}) > 1
