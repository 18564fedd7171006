"""Published conversations are replayed; what cannot be is counted with its reason."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import envs
from envs.games.guess_number import GuessNumber
from harness.cli.main import main
from harness.policies import scripted
from harness.runs.regrade import ONE_TEXT, Graders
from leaderboards.boards.publish import add
from leaderboards.boards.verify import verify
from leaderboards.records.entry import Entry, tasks_hash
from leaderboards.records.store import read_entry
from leaderboards.records.strict_json import added_fields


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "harness.runs.history.participants.code_version", lambda: ("0123abc", False)
    )


@pytest.fixture
def run(monkeypatch):
    """`run(script, env, more words)`: the entry of a run whose policy follows the script."""

    def play(script, env="guess_number", *more):
        made = scripted.ScriptedPolicy(script, "scripted:echo")
        monkeypatch.setattr(scripted, "open_scripted", lambda url: made)
        words = ["run", "--env", env, "--method", "base", "--model", "scripted:echo", "--quiet"]
        assert main([*words, "--test-tasks", "6", "--samples", "1", "--run-dir", "out", *more]) == 0
        (path,) = Path("out").rglob("entry.json")
        return read_entry(path)

    return play


def halving(request):
    """The middle of what is left, with an empty line: one text would not tell where it ends."""
    said = [m.content for m in request.conversation if m.role == "user"]
    low, high = map(int, re.search(r"from (\d+) to (\d+)", said[0]).groups())
    for answer in said[1:]:
        kind, number = re.search(r"(Higher|Lower) than (\d+)", answer).groups()
        low, high = (int(number) + 1, high) if kind == "Higher" else (low, int(number) - 1)
    return f"Between {low} and {high}.\n\nGuess: {(low + high) // 2}"


def graded(entry):
    """What verification finds where an entry was published with a manifest that fits it."""
    add([("told", entry)], Path("pub/results"))
    graders = Graders()
    try:
        return verify(Path("pub/results"), graders.grader_for)
    finally:
        graders.close()


def edited(entry, edit, **values):
    """The entry with the replies of its longest conversation changed."""
    place, told = max(enumerate(entry.outcomes), key=lambda pair: len(pair[1].reply))
    assert len(told.reply) > 2
    outcomes = list(entry.outcomes)
    outcomes[place] = replace(told, reply=edit(told.reply), **values)
    return replace(entry, outcomes=tuple(outcomes))


def test_the_conversations_of_a_run_are_replayed(run, capsys):
    entry = run(halving)
    assert {o.reward for o in entry.outcomes} == {1.0}
    assert main(["leaderboard", "add", "out", "--to", "pub/results"]) == 0
    capsys.readouterr()
    assert main(["leaderboard", "verify", "pub/results", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["graded"], told["left"], told["problems"]) == (6, {}, [])


@pytest.mark.parametrize(
    ("edit", "values", "said"),
    [
        (
            lambda told: (*told[:-1], "Guess: 0"),
            {},
            "recorded as ended, but goes on after its last",
        ),
        (lambda told: told[:-1], {}, "recorded as ended, but goes on after its last reply"),
        (lambda told: (*told, "Guess: 1"), {}, "replies are recorded, but"),
        (
            lambda told: ("Hm.",) * 4 + told[-1:],
            {},
            "reward 1 is recorded, but the completion earns 0.8",
        ),
        (lambda told: told, {"reward": 0.5}, "reward 0.5 is recorded, but the completion earns 1"),
        (lambda told: told, {"success": False}, "success False is recorded"),
        (lambda told: (), {}, "goes on after its last reply"),
    ],
)
def test_an_edited_conversation_is_caught_though_its_manifest_fits(run, edit, values, said):
    found = graded(edited(run(halving), edit, **values))
    (problem,) = found.problems
    assert said in problem and found.graded == 6


def of_an_older_schema(entry):
    """The entry without what schema 3 added."""
    return replace(entry, **added_fields(Entry))


def test_a_conversation_of_the_first_schema_is_counted_with_its_reason(run):
    entry = run(halving)
    joined = [replace(o, reply="\n\n".join(o.reply)) for o in entry.outcomes]
    old = of_an_older_schema(replace(entry, outcomes=tuple(joined)))
    assert '"schema": 1' in old.to_json()
    assert '"schema": 2' in of_an_older_schema(entry).to_json()
    found = graded(old)
    assert (found.problems, found.graded, found.left) == ((), 0, {ONE_TEXT: 6})


def test_a_conversation_cut_off_in_a_reply_is_replayed_up_to_there(run):
    entry = run(lambda r: "one " * (60 if len(r.conversation) > 4 else 1))
    assert {(o.status, len(o.reply)) for o in entry.outcomes} == {("truncated", 3)}
    found = graded(entry)
    assert (found.problems, found.graded) == ((), 6)


def test_an_environments_exception_is_a_problem_and_the_next_replay_gets_a_new_environment(
    run, monkeypatch
):
    entry = edited(run(halving), lambda told: ("Boom", *told[1:]))
    respond = GuessNumber.respond

    def fragile(self, reply):
        self.broken = getattr(self, "broken", False) or reply == "Boom"
        if self.broken:
            raise RuntimeError("it broke")
        return respond(self, reply)

    monkeypatch.setattr(GuessNumber, "respond", fragile)
    (problem,) = graded(entry).problems
    assert "the grader gives no score (RuntimeError: it broke" in problem


def searching(request):
    call = '<tool_call>{"name": "search", "arguments": {"query_list": ["guild"]}}</tool_call>'
    return "Answer: nobody knows" if len(request.conversation) > 3 else call


@pytest.mark.parametrize(
    ("env", "script"),
    [
        ("search/fictional", searching),
        ("twenty_questions", lambda r: "Question: is it red?"),
        ("FrozenLake-v1", lambda r: f"Action: {len(r.conversation) % 4}"),
        ("CartPole-v1", lambda r: f"Action: {len(r.conversation) // 2 % 2}"),
    ],
)
def test_other_multi_turn_environments_are_replayed(run, env, script):
    entry = run(script, env)
    assert max(len(o.reply) for o in entry.outcomes) > 1
    found = graded(entry)
    assert (found.problems, found.graded, found.left) == ((), 6, {})


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ("terminal", "its commands run in containers"),
        ("openenv:http://127.0.0.1:9", "its episodes take place in another program"),
        ("verifiers:nothing", "its episodes take place in another program"),
    ],
)
def test_unrepeatable_environments_are_neither_made_nor_reached(run, env, why, monkeypatch):
    entry = run(halving)
    command = ("harness", "run", "--env", env)
    entry = replace(entry, track=replace(entry.track, env="harness/Some-v1"))
    monkeypatch.setattr("harness.runs.regrade.make_env", lambda *_: pytest.fail("was made"))
    told = replace(entry.provenance, command=command)
    brought = Graders().grader_for(object_with(entry, told))
    assert isinstance(brought, str) and brought.startswith("harness/Some-v1 cannot be replayed")
    assert why in brought


def object_with(entry, provenance):
    """The entry with a command that no entry may tell, as far as addresses go."""
    made = replace(entry)
    object.__setattr__(made, "provenance", provenance)
    return made


def test_a_nondeterministic_environment_is_not_replayed(run):
    import gymnasium

    gymnasium.register(
        "Chancy/Lake-v0",
        entry_point="gymnasium.envs.toy_text.frozen_lake:FrozenLakeEnv",
        nondeterministic=True,
    )
    found = graded(run(lambda r: "Action: 1", "Chancy/Lake-v0"))
    assert found.problems == () and found.graded == 0
    ((reason, count),) = found.left.items()
    assert count == 6 and "registered as not deterministic" in reason


@pytest.mark.parametrize(
    "name", ["test:{size}", "test:00", "test:٣", "test:-1", "test: 1", "train:1"]
)
@pytest.mark.parametrize("env", ["guess_number", "arithmetic"])
def test_one_task_under_several_names_is_a_problem(run, env, name):
    """`reset` starts task 0 for `size` too: else an entry could count its easiest task twice."""
    size = envs.make(env, "test").size("test")
    entry = run(halving if env == "guess_number" else lambda r: "Answer: 5", env)
    outcomes = [replace(o, task=name.format(size=size)) for o in entry.outcomes[:1]]
    outcomes += entry.outcomes[1:]
    told = tasks_hash(o.task for o in outcomes)
    track = replace(entry.track, test_tasks_hash=told)
    changed = replace(entry, track=track, outcomes=tuple(outcomes), task_texts=())
    (problem,) = graded(changed).problems
    assert "its task is none of the test split" in problem
