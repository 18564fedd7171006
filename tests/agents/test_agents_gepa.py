"""GEPA by its own package: what it plays, what it accepts, what a killed run goes on from."""

import json
import threading

import pytest

from agents.gepa import GEPA, GEPAConfig
from agents.parts.gepa.bridge import Stopped, ThreadBridge
from agents.parts.gepa.reflection import rewrite
from agents.parts.gepa.search import GEPASearch
from agents.parts.prompts.pareto_cover import pareto_cover
from agents.parts.prompts.reflector import Reflector
from harness.errors import RunError, UsageError
from harness.policies.base import Sampling
from harness.policies.scripted import ScriptedPolicy
from harness.seeds import Seeds
from harness.types import SystemPrompt, Task

EDITS = GEPAConfig(reflection="edits")
ONE = GEPAConfig(reflection="edits", proposals=1)
SHAPE = {"tasks": 4, "prompts": 3, "samples": 4}


def begun(stage, config=EDITS, rounds=0, reward=None, **given):
    method = GEPA(config, stage.context(**given))
    reports = stage.rounds(method, rounds, reward, **SHAPE)
    return method, reports


def play(stage, method, index, reward=None, **shape):
    round = stage.round(index, **(SHAPE | shape))
    casts = method.assign(round)
    return casts, method.learn(stage.play(round, casts, reward or stage.solves))


def test_the_seed_is_validated_first_then_parents_and_children_meet_on_the_same_tasks(stage):
    method = GEPA(ONE, stage.context())
    seed, _ = play(stage, method, 0)
    # Four validation tasks share a round of 48 episodes.
    assert stage.cells(seed) == [(stage.root.id, t, 12, 0) for t in range(4)]
    parents, _ = play(stage, method, 1)
    assert {c.prompt for c in parents} == {stage.root}
    assert [c.samples for c in parents] == [16, 16, 16]
    children, report = play(stage, method, 2)
    assert {c.prompt.parents for c in children} == {(stage.root.id,)}
    assert [c.task for c in children] == [c.task for c in parents]
    assert report.metrics["candidates"] == 1
    validation, report = play(stage, method, 3)
    assert {c.task for c in validation} == {c.task for c in seed}
    assert report.metrics["candidates"] == 2


def test_a_child_that_is_only_as_good_is_not_accepted(stage):
    method, reports = begun(stage, ONE, 7, lambda p, t, s: float(s % 2))
    # Seed, then parents and children without end: nobody is ever validated.
    assert [r.metrics["candidates"] for r in reports] == [1] * 7
    assert method.final_agent().prompt == stage.root


def test_the_champion_has_the_best_mean_validation_score(stage):
    method, _ = begun(stage, EDITS, 8)
    best = max(method.search.pool, key=lambda c: c.mean)
    assert method.final_agent().prompt == best.prompt
    assert best.mean > method.search.pool[0].mean == 0.25
    assert best.prompt.parents


def test_every_round_is_filled_and_never_overfull(stage):
    method = GEPA(EDITS, stage.context())
    for index in range(12):
        casts, _ = play(stage, method, index)
        assert sum(c.samples for c in casts) == 48
        played = {(c.prompt.id, c.task, c.first + i) for c in casts for i in range(c.samples)}
        assert len(played) == 48


def test_as_many_children_at_once_as_minibatches_fit_a_round(stage):
    # 48 episodes, 3 tasks by 4 samples a minibatch: four.
    method, _ = begun(stage, EDITS, 2)
    assert method.search.settings["proposals"] == 4
    assert len(method.search.pending.cells) == 12


def test_a_round_too_small_for_a_minibatch_is_refused(stage):
    method = GEPA(GEPAConfig(proposals=5), stage.context())
    with pytest.raises(UsageError, match="do not fit into a round of 12 episodes"):
        method.assign(stage.round(tasks=3, prompts=2, samples=2))


def test_validation_that_does_not_fit_is_played_over_several_rounds(stage):
    tasks = [Task("train", n) for n in range(5)]
    search = GEPASearch(stage.root, tasks, minibatch=3, proposals=1, seed=1)
    shape = {"tasks": 2, "prompts": 1, "samples": 2}
    sizes = []
    for index in range(3):
        round = stage.round(index, **shape)
        casts = search.assign(round)
        sizes.append([(c.task.seed, c.samples) for c in casts])
        search.learn(stage.play(round, casts, stage.solves), lambda *a: None)
    assert sizes == [[(0, 2), (1, 2)], [(2, 2), (3, 2)], [(4, 4)]]
    assert len(search.pool) == 1


def test_what_was_not_scored_is_played_again_and_is_never_zero(stage):
    method = GEPA(ONE, stage.context())
    _, report = play(stage, method, 0, lambda p, t, s: None if t == 2 else 1.0)
    assert report.metrics["candidates"] == 0
    again, report = play(stage, method, 1, lambda p, t, s: 0.5)
    assert stage.cells(again) == [(stage.root.id, 2, 48, 0)]
    assert method.search.pool[0].scores == (1.0, 1.0, 0.5, 1.0)


def test_a_minibatch_that_lost_a_task_is_played_again_whole(stage):
    method, _ = begun(stage, ONE, 1)
    parents, _ = play(stage, method, 1, lambda p, t, s: None if t == 1 else float(s % 4 == 0))
    again, _ = play(stage, method, 2)
    assert stage.cells(parents) == stage.cells(again)


@pytest.mark.parametrize("killed", range(1, 9))
def test_killed_after_any_round_and_resumed_it_ends_as_if_unbroken(stage, killed):
    asked = []

    def reply(request):
        asked.append(request.id)
        return stage.reflect(request)

    reward = lambda p, t, s: float(s % 4 < len(p.principles) - (t % 3 == 1))  # noqa: E731
    whole, _ = begun(stage, EDITS, 9, reward)
    first, _ = begun(stage, EDITS, killed, reward)
    second = GEPA(EDITS, stage.context(reflector=ScriptedPolicy(reply)))
    second.restore(json.loads(json.dumps(first.state())))
    assert asked == []  # reflections are recorded, not asked for again
    assert second.state() == first.state()
    for index in range(killed, 9):
        play(stage, second, index, reward)
    assert json.dumps(second.state()) == json.dumps(whole.state())
    assert second.final_agent() == whole.final_agent()


def test_killed_in_the_middle_of_a_round_it_casts_the_same_again(stage):
    method, _ = begun(stage, EDITS, 3)
    stored = json.loads(json.dumps(method.state()))
    lost = method.assign(stage.round(3, **SHAPE))
    again = GEPA(EDITS, stage.context())
    again.restore(stored)
    assert again.assign(stage.round(3, **SHAPE)) == lost


def test_another_engines_record_is_refused(stage):
    method, _ = begun(stage, EDITS, 2)
    state = json.loads(json.dumps(method.state()))
    state["search"]["engine"] = "gepa 0.0.1"
    with pytest.raises(RunError, match=r"begun with gepa 0\.0\.1"):
        GEPA(EDITS, stage.context()).restore(state)
    with pytest.raises(RunError, match="holds no search"):
        GEPA(EDITS, stage.context()).restore({"population": []})


def test_a_damaged_record_is_refused(stage):
    method, _ = begun(stage, EDITS, 3)
    state = json.loads(json.dumps(method.state()))
    state["search"]["log"][0]["scores"].append(1.0)
    with pytest.raises(RunError, match="differs from its record"):
        GEPA(EDITS, stage.context()).restore(state)


def test_reflection_is_counted_and_made_in_the_loops_own_thread(stage):
    threads, purposes = set(), set()

    def reply(request):
        threads.add(threading.current_thread())
        purposes.add(request.purpose)
        return stage.reflect(request)

    _, reports = begun(stage, ONE, 2, reflector=ScriptedPolicy(reply))
    assert threads == {threading.main_thread()}
    assert purposes == {"reflect"}
    # 48 attempts summarised, 3 tasks diagnosed and turned into edits, one list aggregated.
    assert reports[1].metrics["reflection_calls"] == 48 + 3 + 3 + 1


def test_a_failing_reflector_stops_the_run_and_not_only_gepas_iteration(stage):
    def broken(request):
        raise ConnectionError("endpoint gone")

    with pytest.raises(ConnectionError, match="endpoint gone"):
        begun(stage, ONE, 2, reflector=ScriptedPolicy(broken))


def test_by_default_gepa_asks_its_own_question_and_reads_its_own_fences(stage):
    questions = []

    def reply(request):
        questions.append(request.conversation[0].content)
        return f"Thinking.</think>Here:\n```\nInstruction {len(questions)}.\n```"

    method, _ = begun(stage, GEPAConfig(proposals=1), 2, reflector=ScriptedPolicy(reply))
    (question,) = questions
    assert "I provided an assistant with the following instructions" in question
    assert stage.root.text in question
    assert question.count("## Feedback") == 6  # the best and the worst attempt at three tasks
    assert "RIGHT (reward 1). The answer is answer" in question
    (child,) = {p for p, _ in method.search.pending.cells}
    assert child == SystemPrompt("Instruction 1.")
    assert child.parents == (stage.root.id,)


def test_an_empty_rewriting_proposes_nobody(stage):
    _, reports = begun(
        stage, GEPAConfig(proposals=1), 2, reflector=ScriptedPolicy(lambda request: " ")
    )
    assert reports[1].metrics["reflection_unanswered"] == 1
    assert reports[1].lines[0] == f"no child of {stage.root.id}: nothing was written"


def test_an_engine_that_fails_fails_the_loop_and_a_stopped_one_ends():
    bridge: ThreadBridge[str, str] = ThreadBridge()
    bridge.start(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bridge.next()
    bridge = ThreadBridge()
    ended = threading.Event()

    def optimizer():
        try:
            bridge.request("more?")
        except Stopped:
            ended.set()
            raise

    bridge.start(optimizer)
    assert bridge.next() == "more?"
    bridge.stop()
    assert ended.wait(5)


def test_a_search_that_is_dropped_leaves_no_thread_behind(stage):
    before = set(threading.enumerate())
    search = GEPASearch(stage.root, [Task("train", 0)], minibatch=3, proposals=1, seed=1)
    (thread,) = set(threading.enumerate()) - before
    del search
    thread.join(5)
    assert not thread.is_alive()


def test_a_cover_takes_who_adds_most():
    scores = [(0.5, 0.5, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.4, 0.4, 0.4)]
    # 1.2 is the highest mean; then row 2 adds 0.6 and row 1 as much; then nobody but row 0.
    assert pareto_cover(scores, 2) == [3, 1]
    assert pareto_cover(scores, 9) == [3, 1, 2, 0]
    assert pareto_cover([(1.0, 1.0), (1.0, 1.0)], 2) == [0]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("<think>```\nBe brief\n```, but then", "its thought was not finished within"),
        ("", "the reply was empty"),
    ],
)
def test_a_reflection_that_ends_within_its_thought_writes_no_prompt(stage, reply, said):
    rollouts = stage.table({stage.root: [[1, 0], [0, 1]]})
    asking = Reflector(ScriptedPolicy(lambda _: reply), Sampling(max_tokens=99), Seeds(1))
    result = rewrite(stage.root, list(rollouts.of(stage.root).groups), asking)
    assert (result.child, result.reason) == (None, "nothing was written")
    (unanswered,) = asking.unanswered
    assert said in unanswered
