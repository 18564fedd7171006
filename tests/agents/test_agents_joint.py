"""INSPO, FST and P2O: who plays which problem, what is learnt from it, what is handed in."""

import pytest

import agents
from agents.fst import FST, FSTConfig
from agents.inspo import INSPO, INSPOConfig, Instruction
from agents.p2o import P2O, HintTemplate, P2OConfig
from harness.errors import RunError
from harness.types import SystemPrompt, Task

OTHER = SystemPrompt("Be brief.", ("Other.",))
THIRD = SystemPrompt("Be brief.", ("Third.",))
SHAPE = {"tasks": 4, "prompts": 3, "samples": 4}


def play(stage, method, index, reward=None, **shape):
    round = stage.round(index, **(SHAPE | shape))
    casts = method.assign(round)
    return casts, method.learn(stage.play(round, casts, reward or stage.solves))


# INSPO


def test_each_question_draws_one_instruction_and_its_group_shares_it(stage):
    method = INSPO(INSPOConfig(), stage.context())
    method.instructions = (Instruction(stage.root, 0.5), Instruction(OTHER, 0.5))
    casts = method.assign(stage.round(tasks=8, prompts=3, samples=4))
    assert [c.task.seed for c in casts] == list(range(8))
    assert {c.samples for c in casts} == {12}
    assert {c.prompt for c in casts} == {stage.root, OTHER}


def test_instructions_are_drawn_by_the_softmax_of_their_weights(stage):
    method = INSPO(INSPOConfig(temperature=0.1), stage.context())
    method.instructions = (Instruction(stage.root, 0.6), Instruction(OTHER, 0.5))
    casts = method.assign(stage.round(tasks=4000, prompts=1, samples=2))
    share = sum(c.prompt == stage.root for c in casts) / 4000
    assert share == pytest.approx(0.7311, abs=0.03)  # e / (e + 1)


def test_a_weight_starts_at_the_first_mean_and_then_follows_it(stage):
    method = INSPO(INSPOConfig(smoothing=0.5, interval=99), stage.context())
    play(stage, method, 0, lambda p, t, s: 1.0)
    assert method.instructions[0].weight == 1.0
    play(stage, method, 1, lambda p, t, s: 0.0)
    assert method.instructions[0].weight == 0.5
    play(stage, method, 2, lambda p, t, s: None)
    assert method.instructions[0].weight == 0.5


def test_what_was_never_played_is_verified_before_it_can_be_drawn(stage):
    method = INSPO(INSPOConfig(interval=99), stage.context())
    method.instructions = (Instruction(stage.root, 1.0), Instruction(OTHER), Instruction(THIRD))
    casts, _ = play(stage, method, 0, lambda p, t, s: float(p == OTHER))
    assert sum(c.prompt == OTHER for c in casts) == sum(c.prompt == THIRD for c in casts) == 1
    weights = {i.prompt: i.weight for i in method.instructions}
    assert weights == {stage.root: pytest.approx(0.7), OTHER: 1.0, THIRD: 0.0}


def test_the_lightest_are_pruned_and_the_heaviest_have_children(stage):
    config = INSPOConfig(interval=1, population=1, proposals=1, learning_rate=0.0)
    method = INSPO(config, stage.context())
    method.instructions = (Instruction(stage.root, 0.2), Instruction(OTHER, 0.1))
    reward = lambda p, t, s: float(s < (4 if p == stage.root else 1))  # noqa: E731
    play(stage, method, 0, reward)
    first, second = method.instructions
    assert first.prompt == stage.root
    assert second.weight is None
    assert second.prompt.parents == (stage.root.id,)


def test_the_replay_buffer_keeps_what_failed_most(stage):
    method = INSPO(INSPOConfig(memory=2, interval=99), stage.context())
    # Task t has t + 1 right of twelve; all right and all wrong teach nothing.
    play(stage, method, 0, lambda p, t, s: float(s <= t))
    play(stage, method, 1, lambda p, t, s: 1.0)
    assert [g.assignment.task.seed for g in method.replay.groups] == [0, 1]


def test_inspo_hands_in_the_heaviest_that_was_played(stage):
    method = INSPO(INSPOConfig(), stage.context())
    method.instructions = (
        Instruction(stage.root, 0.2),
        Instruction(OTHER, 0.3),
        Instruction(THIRD),
    )
    assert method.final_agent().prompt == OTHER


# FST


def test_a_slow_round_splits_one_group_over_the_prompts(stage):
    method = FST(FSTConfig(fast=1, slow=9), stage.context())
    method.prompts = (stage.root, OTHER, THIRD)
    casts = method.assign(stage.round(1, tasks=1, prompts=3, samples=4))
    assert stage.cells(casts) == [(p.id, 10, 4, 0) for p in method.prompts]
    # Ten does not divide by three, so two share it.
    casts = method.assign(stage.round(1, tasks=1, prompts=2, samples=5))
    assert stage.cells(casts) == [(p.id, 10, 5, 0) for p in method.prompts[:2]]


def test_a_reply_is_compared_with_the_whole_group_whatever_the_prompt(stage):
    policy = stage.LearningPolicy()
    method = FST(FSTConfig(fast=1, slow=9), stage.context(policy))
    method.prompts = (stage.root, OTHER)
    play(stage, method, 1, lambda p, t, s: float(p == OTHER), tasks=1, prompts=2, samples=2)
    ((samples, _, _),) = policy.updates
    # Mean 0.5, standard deviation of 0, 0, 1, 1 is 0.57735.
    assert [s.advantage for s in samples] == pytest.approx(
        [x / (0.577350 + 1e-4) for x in (-0.5, -0.5, 0.5, 0.5)], rel=1e-5
    )


def test_fast_rounds_move_no_weights_and_end_in_a_front(stage):
    policy = stage.LearningPolicy()
    config = FSTConfig(fast=4, slow=2, reflection="edits")
    method = FST(config, stage.context(policy))
    for index in range(4):
        play(stage, method, index)
        assert not policy.updates
    assert method.search is None
    assert method.prompts[0] != stage.root
    play(stage, method, 4, lambda p, t, s: float(s % 2))
    assert len(policy.updates) == 1
    assert method.final_agent().prompt == method.prompts[0]


def test_each_cycle_searches_anew_from_the_best_prompt(stage):
    method = FST(FSTConfig(fast=4, slow=1, reflection="edits"), stage.context())
    for index in range(5):
        play(stage, method, index)
    best = method.prompts[0]
    casts, _ = play(stage, method, 5)
    assert {c.prompt for c in casts} == {best}


# P2O


def hard_ones(stage, config=None, rounds=2, policy=None):
    method = P2O(config or P2OConfig(train=2, fast=3, least=2), stage.context(policy))
    # Task 1 of every ten is never solved, task 2 once, the others often.
    rights = {1: 0, 2: 1}
    reward = lambda p, t, s: float(s < rights.get(t % 10, 6))  # noqa: E731
    for index in range(rounds):
        play(stage, method, index, reward)
    return method


def test_problems_with_at_most_one_right_reply_are_hard(stage):
    method = hard_ones(stage)
    assert [t.seed for t in method.candidates] == [1, 2, 11, 12]
    assert method.candidates[Task("train", 1)] == (1, 0)  # the plain prompt's tokens


def test_the_search_is_on_hard_problems_only(stage):
    policy = stage.LearningPolicy()
    method = hard_ones(stage, policy=policy)
    before = len(policy.updates)
    casts, _ = play(stage, method, 2)
    assert sorted({c.task.seed for c in casts}) == [1, 2, 11, 12]
    assert len(policy.updates) == before


def test_with_too_few_hard_problems_training_goes_on(stage):
    policy = stage.LearningPolicy()
    method = hard_ones(stage, P2OConfig(train=2, fast=3, least=9), rounds=3, policy=policy)
    assert method.search is None
    assert len(policy.updates) == 3


def test_hard_problems_come_back_under_templates_and_are_learnt_without(stage):
    policy = stage.LearningPolicy()
    method = P2O(P2OConfig(train=9, least=99, share=0.5), stage.context(policy))
    first, second = Task("train", 91), Task("train", 92)
    method.hard = {first: (7, 7, 7), second: (8, 8)}
    method.templates = (
        HintTemplate(OTHER, {first: 0.5, second: 0.0}),
        HintTemplate(THIRD, {first: 0.0, second: 0.25}),
    )
    casts, _ = play(stage, method, 0, lambda p, t, s: float(s % 2))
    by_task = {c.task: c for c in casts}
    assert {c.task.seed for c in casts} == {91, 92, 2, 3}
    # Each is solved by one template alone.
    assert (by_task[first].prompt, by_task[second].prompt) == (OTHER, THIRD)
    assert by_task[Task("train", 2)].prompt == stage.root
    ((samples, _, _),) = policy.updates
    assert {s.prompt for s in samples} == {(7, 7, 7), (8, 8), (1, 0)}


def test_templates_are_drawn_by_their_score_among_all_where_none_solved_it(stage):
    method = P2O(P2OConfig(), stage.context())
    task = Task("train", 1)
    method.hard = {task: (1,)}
    method.templates = (
        HintTemplate(OTHER, {task: 0.0, Task("train", 2): 0.3}),
        HintTemplate(THIRD, {task: 0.0, Task("train", 2): 0.1}),
    )
    drawn = dict(method._prompts(task, 4000, stage.round().rng("x")))
    assert sum(drawn.values()) == 4000
    assert drawn[OTHER] / 4000 == pytest.approx(0.75, abs=0.03)


def test_p2o_hands_in_no_template(stage):
    method = P2O(P2OConfig(), stage.context())
    method.templates = (HintTemplate(OTHER, {}),)
    assert method.final_agent().prompt == stage.root


@pytest.mark.parametrize("name", ["inspo", "fst", "p2o"])
def test_another_methods_state_is_no_state_of_theirs(stage, name):
    method = agents.make(name, agents.config_type(name)(), stage.context())
    with pytest.raises(RunError, match="written by another method"):
        method.restore({"population": []})
