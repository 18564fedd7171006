"""Mutation and crossover, with a reflector that follows a script."""

import json
from dataclasses import replace
from typing import Any

import pytest

from agents.parts.prompts.operators import EditLimits, crossover, mutate
from agents.parts.prompts.reflection_context import mixed_outcomes, transcript, verdict
from agents.parts.prompts.reflector import Reflector
from agents.parts.prompts.serialization import episode_from_record, episode_record
from agents.parts.prompts.template_filling import fill
from harness.policies.base import Sampling
from harness.policies.scripted import ScriptedPolicy
from harness.seeds import Seeds
from harness.types import Assignment, Completion, Ending, Finish, SystemPrompt

BEST = SystemPrompt("Be brief.", ("Check the sign.", "Guess first."))
OTHER = SystemPrompt("Be brief.", ("Draw a picture.",))


class Told:
    """A reflector's script, by stage, and everything it was asked."""

    def __init__(self, stage, **replies):
        self.asked: dict[str, str] = {}
        self.answers: Any = replies

        def reply(request):
            self.asked[request.id.removeprefix("reflect/")] = request.conversation[0].content
            name = stage.stage(request)
            return self.answers.get(name, stage.reflect(request))

        self.reflector = Reflector(ScriptedPolicy(reply), Sampling(max_tokens=999), Seeds(1))

    def about(self, name):
        """The questions of one stage."""
        return {id: text for id, text in self.asked.items() if f"/{name}/" in id}


def test_only_problems_with_mixed_outcomes_are_looked_at(stage):
    rollouts = stage.table({BEST: [[1, 1], [1, 0], [0, 0], [None, 1], [0.2, 0.8]]})
    assert [p.task.seed for p in mixed_outcomes(rollouts)] == [1, 4]


def test_unscored_attempts_are_not_reflected_on(stage):
    rollouts = stage.table({BEST: [[1, None, 0]]})
    told = Told(stage)
    mutate(BEST, rollouts, told.reflector, EditLimits())
    assert list(told.about("summarise")) == [
        "mutation/summarise/train:0/0",
        "mutation/summarise/train:0/1",
    ]
    assert all("reply 0/1" not in text for text in told.asked.values())


def test_a_summary_sees_every_turn_the_outcome_and_the_ground_truth(stage):
    round = stage.round(tasks=1, prompts=1)
    cast = [Assignment(BEST, round.tasks[0], 2)]
    rollouts = stage.play(round, cast, lambda p, t, sample: float(sample), turns=3)
    told = Told(stage)
    mutate(BEST, rollouts, told.reflector, EditLimits())
    wrong, right = told.about("summarise").values()
    for text in ("problem 0 turn 0", "problem 0 turn 1", "problem 0 turn 2", "answer 0"):
        assert text in wrong
    for text in ("reply 0/0/0", "reply 0/0/1", "reply 0/0/2", "feedback 0/0", "WRONG (reward 0)"):
        assert text in wrong
    assert "RIGHT (reward 1)" in right
    assert "1. Check the sign." in right


def test_a_critique_is_built_from_its_own_problems_attempts(stage):
    """The trap: a variable left over from an earlier loop gives every problem the last one's."""
    rollouts = stage.table({BEST: [[1, 0], [1, 1], [0, 1]]})
    told = Told(stage)
    mutate(BEST, rollouts, told.reflector, EditLimits())
    critiques = told.about("critique")
    assert set(critiques) == {"mutation/critique/train:0", "mutation/critique/train:2"}
    for mine, other in ((0, 2), (2, 0)):
        text = critiques[f"mutation/critique/train:{mine}"]
        assert f"problem {mine} turn 0" in text
        assert f"summary of train:{mine}/0" in text
        assert f"summary of train:{mine}/1" in text
        assert f"train:{other}" not in text
        assert f"problem {other}" not in text
    assert "[RIGHT (reward 1)] summary of train:0/0" in critiques["mutation/critique/train:0"]
    assert "[WRONG (reward 0)] summary of train:2/0" in critiques["mutation/critique/train:2"]
    proposals = told.about("propose")
    assert "diagnosis of train:2" in proposals["mutation/propose/train:2"]
    assert "diagnosis of train:0" not in proposals["mutation/propose/train:2"]


def test_mutation_reads_its_parents_rollouts_only(stage):
    rollouts = stage.table({OTHER: [[1, 0]], BEST: [[1, 1], [1, 0]]})
    told = Told(stage)
    mutate(BEST, rollouts, told.reflector, EditLimits())
    assert all("train:0" not in id for id in told.asked)


def test_a_child_is_its_parent_with_every_problems_edits(stage):
    rollouts = stage.table({BEST: [[1, 0], [0, 1]]})
    birth = mutate(BEST, rollouts, Told(stage).reflector, EditLimits())
    assert birth.child.briefing == "Be brief."
    assert birth.child.principles == (
        "Check the sign.",
        "Guess first.",
        "Advice from train:0.",
        "Advice from train:1.",
    )
    assert (birth.child.parents, birth.child.origin) == ((BEST.id,), "mutation")
    assert birth.lines()[0] == f"child {birth.child.id} of {BEST.id}: ADD: Advice from train:0."


def test_the_aggregation_works_on_the_draft_with_the_local_edits(stage):
    told = Told(
        stage,
        propose="MODIFY 2: Guess last.\nADD: Test it.",
        aggregate="MERGE 2, 3: Guess last, then test it.",
    )
    birth = mutate(BEST, stage.table({BEST: [[1, 0]]}), told.reflector, EditLimits())
    assert "1. Check the sign.\n2. Guess last.\n3. Test it." in told.about("aggregate").popitem()[1]
    assert birth.child.principles == ("Check the sign.", "Guess last, then test it.")
    assert len(birth.applied) == 3


def test_two_problems_may_reword_one_principle(stage):
    told = Told(stage)
    wording = iter(["MODIFY 1: First wording.", "MODIFY 1: Second wording."])
    told.answers = _Each(lambda name: next(wording) if name == "propose" else None)
    birth = mutate(BEST, stage.table({BEST: [[1, 0], [1, 0]]}), told.reflector, EditLimits())
    assert birth.child.principles == ("First wording.", "Guess first.", "Second wording.")


class _Each:
    """Answers made when asked for."""

    def __init__(self, answer):
        self.answer = answer

    def get(self, name, default):
        return self.answer(name) or default


@pytest.mark.parametrize(
    ("rewards", "replies", "reason"),
    [
        ([[1, 1], [0, 0]], {}, "no problem was solved in some attempts"),
        ([[1, 0]], {"propose": "The solver did fine, I think."}, "no usable edit"),
        ([[1, 0]], {"propose": "NONE"}, "no usable edit"),
        ([[1, 0]], {"propose": "ADD: Check the sign."}, "no usable edit"),
        ([[1, 0]], {"propose": "MODIFY 9: Nothing there."}, "no usable edit"),
        ([[1, 0]], {"summarise": ""}, "no usable edit"),
    ],
)
def test_where_nothing_can_be_concluded_there_is_no_child(stage, rewards, replies, reason):
    told = Told(stage, **replies)
    birth = mutate(BEST, stage.table({BEST: rewards}), told.reflector, EditLimits())
    assert birth.child is None
    assert reason in birth.lines()[0]


def test_edits_that_lead_back_to_the_parent_make_no_child(stage):
    told = Told(stage, propose="MODIFY 2: Guess last.", aggregate="MODIFY 2: Guess first.")
    birth = mutate(BEST, stage.table({BEST: [[1, 0]]}), told.reflector, EditLimits())
    assert birth.child is None
    assert "cancelled out" in birth.reason


def test_garbage_in_the_aggregation_leaves_the_draft_as_it_is(stage):
    told = Told(stage, propose="ADD: Test it.", aggregate="I am a language model.")
    birth = mutate(BEST, stage.table({BEST: [[1, 0]]}), told.reflector, EditLimits())
    assert birth.child.principles == (*BEST.principles, "Test it.")
    assert [r.recognised for r in birth.replies] == [True, False]


def test_a_prompt_never_grows_beyond_its_limit(stage):
    told = Told(stage, propose="ADD: Third one.\nADD: Fourth one.")
    limits = EditLimits(edits=2, principles=3)
    birth = mutate(BEST, stage.table({BEST: [[1, 0]]}), told.reflector, limits)
    assert birth.child.principles == (*BEST.principles, "Third one.")
    assert "left out, over 3 principles: Fourth one." in birth.lines()


def test_crossover_learns_from_prompts_that_alone_were_best_somewhere(stage):
    third = SystemPrompt("Be brief.", ("Never wins.",))
    rollouts = stage.table(
        {BEST: [[1, 1], [0, 0], [1, 1]], OTHER: [[0, 0], [1, 0], [1, 1]], third: [[0, 0]] * 3}
    )
    told = Told(stage, crossover="ADD: Draw a picture.\nREMOVE 2")
    birth = crossover(BEST, rollouts, told.reflector, EditLimits())
    assert birth.child.principles == ("Check the sign.", "Draw a picture.")
    assert (birth.child.parents, birth.child.origin) == ((BEST.id, OTHER.id), "crossover")
    (asked,) = told.asked.values()
    assert f"{OTHER.id}: 0.00 0.50 1.00" in asked
    assert f"Problem won by {OTHER.id}: problem 1 turn 0" in asked
    assert f"Problem won by {BEST.id}: problem 0 turn 0" in asked
    assert "1. Draw a picture." in asked
    assert "Never wins." not in asked


def test_where_no_other_prompt_won_alone_there_is_no_crossover(stage):
    rollouts = stage.table({BEST: [[1, 1], [1, 1]], OTHER: [[0, 0], [1, 1]]})
    told = Told(stage)
    birth = crossover(BEST, rollouts, told.reflector, EditLimits())
    assert birth.child is None
    assert "alone best" in birth.reason
    assert told.asked == {}


def test_a_verdict_tells_a_wrong_answer_from_a_cut_one(stage):
    cast = Assignment(BEST, stage.task(1), 1)
    wrong = stage.episode(cast, 0, 0.0)
    assert verdict(wrong) == "WRONG (reward 0)"
    cut = replace(wrong, ending=Ending.OVERLONG)
    assert verdict(cut) == "WRONG (reward 0, cut off at the token limit)"
    assert transcript(wrong) == "Reply 1: reply 1/0/0\nFeedback: feedback 1/0"


def completed(stage, completion):
    episode = stage.episode(Assignment(BEST, stage.task(1), 1), 0, 0.0)
    (turn,) = episode.turns
    return replace(episode, turns=(replace(turn, completion=completion),), feedback="")


@pytest.mark.parametrize(
    "completion",
    [
        Completion("<think>6 · 7</think>\n42", Finish.STOP, 9),
        Completion("42", Finish.STOP, 9, reasoning="6 · 7"),
    ],
)
def test_thought_and_answer_stand_apart_whoever_told_them_apart(stage, completion):
    episode = completed(stage, completion)
    assert transcript(episode) == "Thought 1: 6 · 7\nReply 1: 42"
    again = episode_from_record(json.loads(json.dumps(episode_record(episode))))
    assert transcript(again) == transcript(episode)


@pytest.mark.parametrize(
    "completion",
    [
        Completion("<think>so it is \\boxed{42}, but", Finish.LENGTH, 9),
        Completion("", Finish.LENGTH, 9, reasoning="so it is \\boxed{42}, but"),
    ],
)
def test_an_unfinished_thought_is_shown_as_one_and_not_as_an_answer(stage, completion):
    told = transcript(completed(stage, completion))
    assert told == (
        "Thought 1 (cut off before any answer): so it is \\boxed{42}, but\nReply 1: (none)"
    )


def test_where_room_is_short_tool_results_are_shortened_before_calls(stage):
    cast = Assignment(BEST, stage.task(1), 1)
    turns = tuple(
        replace(turn, observation="passage " * 400)
        for turn in stage.episode(cast, 0, 0.0, turns=3).turns
    )
    attempt = transcript(replace(stage.episode(cast, 0, 0.0, turns=3), turns=turns))
    text = fill("{{attempt}}", {"attempt": attempt}, 800)
    assert len(text) <= 800
    assert all(
        f"Reply {number}: {turn.completion.text}" in text for number, turn in enumerate(turns, 1)
    )
    assert text.count("[…]") == 2
