"""Sizes of what a run keeps: at the limit, one below and one above, everything is read back."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness import active_episode
from harness.active_episode import RolloutConfig
from harness.callbacks import Callback
from harness.env_pool import EnvPool
from harness.errors import RunError
from harness.metered import Meter, Metered
from harness.policies.base import Sampling
from harness.rollout import rollout
from harness.runs.history.fit_entry import fitted
from harness.seeds import Seeds
from harness.storage import atomic_files, round_journal, sizes
from harness.storage.atomic_files import Log, lines, read_json, whole_lines, write_json
from harness.storage.episode_record import episode_from, episode_record
from harness.storage.transcript import episode_json
from harness.types import Assignment, Completion, Ending, Episode, Finish, SystemPrompt, Task
from leaderboards.records import store
from leaderboards.records.entry import Entry
from leaderboards.records.store import find_entries, read_entry, write_entry
from leaderboards.records.strict_json import RecordError

ROOT = SystemPrompt("Say something.")
GOLDEN = Path(__file__).parents[1] / "leaderboards/golden/v1.entry.json"


class World:
    """An environment that says and pays what a test wants."""

    system_prompt = ""

    def __init__(self, split: str = "test", **said: Any) -> None:
        self.said = {"observation": "o", "reward": 1.0, "over": True, "info": {}, **said}

    def reset(self, *, seed=None, options=None):
        return self.said.get("first", "task"), self.said.get("begin", {})

    def step(self, action):
        told = self.said
        return told["observation"], told["reward"], told["over"], False, told["info"]

    def size(self, split):
        return 4

    def close(self):
        pass


class Says:
    """A policy that says the same to everything."""

    name, version, context = "says", 0, None

    def __init__(self, text: str, reasoning: str = "") -> None:
        self.text, self.reasoning = text, reasoning

    def generate(self, waiting):
        while waiting:
            request = waiting.popleft()
            yield request.id, Completion(self.text, Finish.STOP, 3, reasoning=self.reasoning)


def episode(text: str = "a", reasoning: str = "", **said: Any) -> Episode:
    policy = Metered(Says(text, reasoning), Meter(Callback()), deterministic=True)
    envs = EnvPool(lambda split: World(split, **said))  # type: ignore[return-value]
    config = RolloutConfig(policy, envs, Sampling(), Seeds(0))
    ((_, made),) = rollout([Assignment(ROOT, Task("test", 0), 1)], config)
    # Whatever ended it, it can be written and read back.
    assert json.loads(json.dumps(episode_json(made), allow_nan=False))
    assert episode_from(json.loads(json.dumps(episode_record(made)))) == made
    return made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_episode, "LONGEST_TEXT", 100)
    monkeypatch.setattr(active_episode, "LONGEST_EPISODE", 1800)


@pytest.mark.parametrize(
    ("size", "ending"), [(99, "terminated"), (100, "terminated"), (101, "overlong")]
)
@pytest.mark.parametrize("thought", [0, 40])
def test_a_completion_that_is_too_long_is_cut_off(small, size, thought, ending):
    made = episode("x" * (size - thought), "t" * thought)
    assert made.ending == ending and made.reward == 1.0
    (turn,) = made.turns
    assert len(turn.completion.text) + len(turn.completion.reasoning) == min(size, 100)
    told = "the completion has 101 characters and was cut at 100"
    assert made.error == ("" if size <= 100 else told)


@pytest.mark.parametrize("where", ["first", "observation"])
@pytest.mark.parametrize("size", [99, 100, 101])
def test_an_observation_that_is_too_long_leaves_its_episode_unscored(small, where, size):
    made = episode(**{where: "x" * size}, over=where == "first")
    if size > 100:
        assert made.ending is Ending.FAILED and "at most 100 are kept" in made.error
    else:
        # One that goes on for ever is ended where the episode is as long as is kept.
        assert made.ending is (Ending.TERMINATED if where == "first" else Ending.TRUNCATED)


@pytest.mark.parametrize(("most", "turns"), [(1004, 2), (1005, 3), (1006, 3)])
def test_a_conversation_ends_truncated_where_no_more_is_kept(small, monkeypatch, most, turns):
    # A turn counts 502, and the observation after it is one more.
    monkeypatch.setattr(active_episode, "LONGEST_EPISODE", most)
    made = episode("a", first="o", observation="o", over=False)
    assert made.ending is Ending.TRUNCATED and "the most that are kept" in made.error
    assert len(made.turns) == turns and made.reward == float(turns)


@pytest.mark.parametrize(
    ("reward", "scored"),
    [(1e15, True), (-1e15, True), (1.0000001e15, False), (-1e16, False), (10**400, False),
     (float("inf"), False), (float("nan"), False), ("x", False), (None, False)],
)  # fmt: skip
def test_a_reward_that_no_entry_takes_leaves_its_episode_unscored(reward, scored):
    made = episode(reward=reward)
    assert made.scored is scored and (made.error == "") is scored


class Odd:
    def __bool__(self):
        raise ValueError("neither")

    def __str__(self):
        raise ValueError("no text")


@pytest.mark.parametrize(
    "said",
    [{"info": None}, {"info": 3}, {"info": {"success": Odd()}}, {"info": {"feedback": Odd()}},
     {"info": {"answer": Odd()}}, {"begin": None}, {"begin": {"answer": Odd()}}, {"first": 3},
     {"first": None}, {"first": b"task"}, {"observation": None, "over": False}, {"over": Odd()},
     {"observation": ["o"], "over": False}, {"info": {"outcome": Odd()}}],
)  # fmt: skip
def test_an_environment_that_says_what_cannot_be_kept_fails_one_episode(said):
    made = episode(**said)
    assert made.ending is Ending.FAILED and made.error


def test_an_environment_that_cannot_be_closed_ends_no_run():
    class Stuck(World):
        def close(self):
            raise RuntimeError("stuck")

    pool = EnvPool(Stuck)
    pool.release("test", pool.acquire("test"))
    pool.close()


@pytest.mark.parametrize(
    "size", [sizes.LONGEST_REMARK - 1, sizes.LONGEST_REMARK, sizes.LONGEST_REMARK + 1]
)
def test_remarks_of_an_environment_are_cut(size):
    made = episode(info={"feedback": "f" * size, "answer": "\ud800" * size})
    assert len(made.feedback) == len(made.answer) == min(size, sizes.LONGEST_REMARK)
    assert made.feedback.endswith("characters)") is (size > sizes.LONGEST_REMARK)
    failed = episode(info={"outcome": "unscored", "feedback": "e" * size})
    assert not failed.scored and len(failed.error) == min(size, sizes.LONGEST_REMARK)


@pytest.fixture
def files_of_200(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "LARGEST_FILE", 200)


@pytest.mark.parametrize("size", [199, 200, 201])
def test_a_log_line_is_read_back_or_not_written(files_of_200, tmp_path, size):
    log, text = Log(tmp_path / "a.jsonl"), "é" * ((size - 10) // 2) + "x" * (size % 2)
    assert len(json.dumps({"t": text}, ensure_ascii=False).encode()) + 1 == size
    if size <= 200:
        log.append({"t": text})
        assert [line for _, line in lines(tmp_path / "a.jsonl")] == [{"t": text}]
    else:
        with pytest.raises(RunError, match="nothing was written"):
            log.append({"t": text})
        assert (tmp_path / "a.jsonl").read_bytes() == b""
    log.close()


@pytest.mark.parametrize("size", [199, 200, 201])
def test_a_json_file_is_read_back_or_not_written(files_of_200, tmp_path, size):
    path, text = tmp_path / "state.json", "x" * (size - 13)
    assert len(json.dumps({"t": text}, indent=1)) + 1 == size
    if size <= 200:
        write_json(path, {"t": text})
        assert read_json(path) == {"t": text}
    else:
        with pytest.raises(RunError, match="nothing was written"):
            write_json(path, {"t": text})
        assert not path.exists()
        path.write_text(json.dumps({"t": text}, indent=1) + "\n")
        with pytest.raises(RunError, match="larger than"):
            read_json(path)


def test_texts_with_lone_surrogates_are_written_and_read_back(tmp_path):
    write_json(tmp_path / "a.json", {"principles": ["\ud800 and \udfff"]})
    assert read_json(tmp_path / "a.json") == {"principles": ["\ud800 and \udfff"]}


def test_a_journal_line_that_is_too_long_costs_no_run(tmp_path, monkeypatch):
    told: list[str] = []
    journal = round_journal.RoundJournal(tmp_path / "unfinished_round.jsonl")
    journal.note = told.append
    journal.begin(0, 0)
    monkeypatch.setattr(atomic_files, "LARGEST_FILE", 1000)
    journal.add_completions({"a": Completion("x" * 2000, Finish.STOP, 1)}, 1.0)
    journal.add_completions({"b": Completion("x", Finish.STOP, 1)}, 1.0)
    journal.close()
    assert len(told) == 1 and "sampled again" in told[0]
    again = round_journal.RoundJournal(tmp_path / "unfinished_round.jsonl")
    again.begin(0, 0)
    assert set(again.take(["a", "b"], together=False)) == {"b"}
    again.close()


def whole() -> Entry:
    return Entry.from_json(GOLDEN.read_text())


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_an_entry_is_read_back_or_not_written(tmp_path, monkeypatch, beyond):
    made = whole()
    size = len(made.to_json())
    monkeypatch.setattr(store, "LARGEST", size - beyond)
    if beyond <= 0:
        assert read_entry(write_entry(tmp_path / "entry.json", made)) == made
    else:
        with pytest.raises(RecordError, match="nothing was written"):
            write_entry(tmp_path / "entry.json", made)
        assert not (tmp_path / "entry.json").exists()


@pytest.mark.parametrize("beyond", [-1, 0, 1, 1000, 10**9])
def test_an_entry_leaves_out_completions_before_it_gets_too_large(beyond):
    from dataclasses import replace

    made = whole()
    long = tuple(
        replace(o, reply=f"\x00\U0001f600{'x' * 300 * n}") for n, o in enumerate(made.outcomes)
    )
    made = replace(made, outcomes=long)
    size = len(made.to_json())
    most = max(size - beyond, len(whole().to_json()) + 200)
    kept = fitted(made, most)
    assert len(kept.to_json()) <= most
    missing = [n for n, o in enumerate(kept.outcomes) if o.reply is None]
    assert bool(missing) is (beyond > 0) is any("left out" in note for note in kept.notes)
    # The longest go first, and nothing else changes.
    assert missing == list(range(len(long)))[len(long) - len(missing) :]
    assert [o.reward for o in kept.outcomes] == [o.reward for o in made.outcomes]


def test_a_file_of_countless_values_is_refused_before_it_fills_the_memory(tmp_path):
    (tmp_path / "a.entry.json").write_bytes(b"[" + b"{}," * (store.MOST_VALUES + 1) + b"{}]")
    (problem,) = find_entries([tmp_path]).problems
    assert "more than 5,000,000 values" in problem
    assert store.values_in(b'{"a": "x,[{\\"", "b": [1, 2]}') == 4
    assert store.values_in(b'["' + b'\\"' * 50_000) == 1


@pytest.mark.parametrize(
    "bad", ['{"a": NaN}', '{"a": 1e999}', '{"a": -Infinity}', "[1]", "3", "{", "[" * 9000, '"x"']
)
def test_a_damaged_line_is_named(tmp_path, bad):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"n": 0}}\n{bad}\n{{"n": 2}}\n{{"torn')
    assert [line for _, line in lines(path)] == [{"n": 0}]
    with pytest.raises(RunError, match=r"a\.jsonl, line 2, holds no JSON object"):
        list(whole_lines(path))


def test_the_limits_are_stated():
    page = (Path(__file__).parents[2] / "docs/reliability.md").read_text()
    for value in (sizes.LONGEST_TEXT, sizes.LONGEST_EPISODE, sizes.LONGEST_REMARK):
        assert f"{value:,} characters" in page
    assert f"{sizes.LARGEST_FILE >> 20} MiB" in page and f"{store.MOST_VALUES:,}" in page
    assert sizes.LARGEST_FILE == store.LARGEST and sizes.LARGEST_REWARD == 1e15
    # Six characters of JSON for each of an episode's, and the remarks: far below a line's limit.
    assert 6 * (sizes.LONGEST_EPISODE + sizes.LONGEST_TEXT + 4 * sizes.LONGEST_REMARK) < 1 << 27
