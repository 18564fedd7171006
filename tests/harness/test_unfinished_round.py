"""What a killed run keeps of an iteration without a checkpoint, and what it samples again."""

import json
from collections import deque
from pathlib import Path
from typing import Any

import pytest

import harness.arena
from harness.arena import Arena
from harness.budget import BudgetPlan, Shape
from harness.callbacks import Callback, Callbacks
from harness.metered import Meter, Metered, MeteredTrainable
from harness.policies.base import Request, Sampling
from harness.seeds import Seeds
from harness.storage.episode_record import episode_from, episode_record
from harness.storage.round_journal import RoundJournal, slot_of
from harness.storage.run_dir import Run
from harness.train import train
from harness.types import (
    Agent,
    Assignment,
    Completion,
    Ending,
    Episode,
    Finish,
    Message,
    Report,
    SystemPrompt,
    Task,
    Tokens,
    Turn,
)

ROOT = SystemPrompt("Say the number.")


class Killed(BaseException):
    """Ends a process where it stands; nothing catches it."""


class KilledAfter(Callback):
    """A kill after so many episodes, or as soon as a phase begins."""

    def __init__(self, episodes: int = -1, phase: str = "") -> None:
        self.left, self.aim = episodes, phase

    def phase(self, name, total):
        if name == self.aim:
            raise Killed

    def episode(self, episode, purpose):
        self.left -= 1
        if self.left == 0:
            raise Killed


class Reflecting:
    """A method that takes two rollouts a round and reflects on them in two calls."""

    def __init__(self, policy, arena, broken="", rollouts=1):
        self.policy, self.arena, self.broken, self.rollouts = policy, arena, broken, rollouts
        self.seen: list[Any] = []

    def assign(self, round):
        groups = [Assignment(ROOT, task, round.samples) for task in round.tasks]
        for number in range(1, self.rollouts):
            # Half of the round's episodes each; the same ids in every rollout.
            self.seen.append([e.reward for e in self.arena.rollout(groups)])
            assert number
        return groups

    def learn(self, rollouts):
        seeds = rollouts.round.seeds
        asks = [
            Request(f"reflect/{n}", (Message("user", "why?"),), Sampling(), seeds.key(n), "reflect")
            for n in range(3)
        ]
        said = {i: c.text for i, c in self.policy.generate(deque(asks[:2]))}
        if self.broken == "learn" and rollouts.round.index == 1:
            raise Killed
        said |= {i: c.text for i, c in self.policy.generate(deque(asks[2:]))}
        self.seen.append([e.reward for e in rollouts])
        self.seen.append(sorted(said.items()))
        return Report()

    def final_agent(self):
        return Agent(ROOT, 0)

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = list(state["seen"])


def attempt(folder, echo, talk, exact, *, broken="", kill=None, rollouts=1):
    """One process of a run of two rounds of ten episodes; what it asked its model for."""
    folder.mkdir(exist_ok=True)
    policy = talk(lambda r: str(r.seed % 10))
    policy.deterministic = exact
    watchers = Callbacks([])
    policy.meter.callback = watchers
    run = Run(folder, policy, policy.meter)
    watchers.add(run)
    if kill:
        watchers.add(kill)
    plan = BudgetPlan(Shape(5, 1, 2), 2, 0)
    arena = Arena(echo, 10, policy, plan, Sampling(), Seeds(1))
    try:
        train(Reflecting(policy, arena, broken, rollouts), arena, run)
    except Killed:
        return policy, False
    finally:
        run.close()
    return policy, True


def asked(policy, purpose="act"):
    return [r.id for r in policy.inner.seen if r.purpose == purpose]


def kept(folder, ordered):
    found = {}
    for name in ("episodes.jsonl", "population.jsonl"):
        found[name] = (folder / name).read_text().splitlines()
        if not ordered:
            found[name].sort()
    return found


def spent(policy):
    whole = policy.meter.spent
    return {n: getattr(whole, n) for n in ("episodes", "acting_tokens", "reflection_tokens")}


@pytest.fixture
def whole(tmp_path, echo, talk):
    policy, _ = attempt(tmp_path / "whole", echo, talk, True)
    return policy, tmp_path / "whole"


@pytest.mark.parametrize("after", [1, 4, 9, 12, 19])
def test_only_missing_episodes_are_sampled_again(tmp_path, echo, talk, whole, after):
    folder = tmp_path / "killed"
    first, ended = attempt(folder, echo, talk, False, kill=KilledAfter(after))
    assert not ended
    again, ended = attempt(folder, echo, talk, False)
    assert ended and spent(again) == spent(whole[0])
    assert kept(folder, ordered=False) == kept(whole[1], ordered=False)
    # Tasks with an odd number take two turns. No episode that had ended was asked for again.
    total = len(asked(whole[0]))
    assert len(asked(first)) + len(asked(again)) == total
    assert not (folder / "unfinished_round.jsonl").exists()


@pytest.mark.parametrize("after", [1, 5, 9, 13, 20])
def test_a_deterministic_backend_repeats_one_chunk_and_ends_the_same(
    tmp_path, echo, talk, whole, after, monkeypatch
):
    monkeypatch.setattr(harness.arena, "CHUNK", 4)  # ten episodes in chunks of 3, 3 and 4
    folder = tmp_path / "killed"
    first, _ = attempt(folder, echo, talk, True, kill=KilledAfter(after))
    again, ended = attempt(folder, echo, talk, True)
    assert ended and spent(again) == spent(whole[0])
    chunked, _ = attempt(tmp_path / "chunked", echo, talk, True)
    assert kept(folder, ordered=True) == kept(tmp_path / "chunked", ordered=True)
    ids = asked(chunked)
    repeated = len(asked(first)) + len(asked(again)) - len(ids)
    assert 0 < repeated <= 4 * 2
    assert set(asked(again)) | set(asked(first)) == set(ids)


@pytest.mark.parametrize("exact", [True, False])
def test_reflection_is_paid_once(tmp_path, echo, talk, whole, exact):
    folder = tmp_path / "killed"
    first, _ = attempt(folder, echo, talk, exact, broken="learn")
    again, ended = attempt(folder, echo, talk, exact)
    assert ended and spent(again) == spent(whole[0])
    assert kept(folder, ordered=True) == kept(whole[1], ordered=True)
    assert [id[-1] for id in asked(first, "reflect")] == ["0", "1", "2", "0", "1"]
    assert asked(again, "reflect") == ["reflect/2"]
    assert asked(again) == []


@pytest.mark.parametrize("exact", [True, False])
def test_a_kill_in_the_second_rollout_of_a_round_keeps_the_first(tmp_path, echo, talk, exact):
    whole, _ = attempt(tmp_path / "whole", echo, talk, exact, rollouts=2)
    first, _ = attempt(tmp_path / "killed", echo, talk, exact, rollouts=2, kill=KilledAfter(13))
    again, ended = attempt(tmp_path / "killed", echo, talk, exact, rollouts=2)
    assert ended and spent(again) == spent(whole)
    assert kept(tmp_path / "killed", False) == kept(tmp_path / "whole", False)
    repeated = len(asked(first)) + len(asked(again)) - len(asked(whole))
    assert repeated <= (15 if exact else 0)
    # The second rollout has the ids of the first; neither is answered with the other's episodes.
    assert len(asked(again)) < len(asked(whole)) - 10


def test_a_torn_or_damaged_line_costs_what_stood_in_it(tmp_path, echo, talk, whole):
    folder = tmp_path / "killed"
    attempt(folder, echo, talk, False, kill=KilledAfter(6))
    path = folder / "unfinished_round.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 6
    for damaged in (
        b"".join(lines)[:-20],
        b"".join(lines[:-1]) + b'{"rollout": 0, "episodes": [{}], "seconds": 1}\n',
        b"".join(lines[:-1]) + b"\0" * 300,
        b"".join(lines[:-1]) + b'{"rollout": 0, "episodes": 3, "seconds": null}\n' + lines[-1],
    ):
        path.write_bytes(damaged)
        copy = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        copy.mkdir()
        for name in ("episodes.jsonl", "rounds.jsonl", "population.jsonl", path.name):
            (copy / name).write_bytes((folder / name).read_bytes())
        again, ended = attempt(copy, echo, talk, False)
        assert ended and spent(again) == spent(whole[0])
        assert kept(copy, False) == kept(whole[1], False)
        assert len(asked(again)) < len(asked(whole[0]))


@pytest.mark.parametrize("change", [{"round": 1}, {"version": 3}, {"schema": 2}, {"more": 1}])
def test_a_file_of_another_round_or_version_is_ignored(tmp_path, echo, talk, whole, change):
    folder = tmp_path / "killed"
    attempt(folder, echo, talk, False, kill=KilledAfter(6))
    path = folder / "unfinished_round.jsonl"
    header, _, rest = path.read_text().partition("\n")
    assert json.loads(header) == {"schema": 1, "round": 0, "version": 0}
    path.write_text(json.dumps(json.loads(header) | change) + "\n" + rest)
    again, ended = attempt(folder, echo, talk, False)
    assert ended and asked(again) == asked(whole[0])
    # A run that is over leaves no file, whatever it found.
    path.write_text(header + "\n" + rest)
    attempt(folder, echo, talk, False)
    assert not path.exists()


def test_a_checkpoint_that_is_newer_than_the_file_leaves_it_aside(tmp_path, echo, talk, whole):
    folder = tmp_path / "killed"
    attempt(folder, echo, talk, False, kill=KilledAfter(10))
    full = (folder / "unfinished_round.jsonl").read_bytes()
    attempt(folder, echo, talk, False, kill=KilledAfter(11))
    assert (folder / "checkpoint").exists()
    (folder / "unfinished_round.jsonl").write_bytes(full)  # of the round with that checkpoint
    again, ended = attempt(folder, echo, talk, False)
    assert ended and spent(again) == spent(whole[0])
    assert kept(folder, False) == kept(whole[1], False)


def test_a_record_reads_back_equal(tmp_path):
    tokens = Tokens((1, 2, 3), (70_000, 5), (-0.1, -2.5))
    exact = Tokens((), (2**40,), (float("-inf"),))
    turns = (
        Turn("a \ud800 b", Completion("x", Finish.STOP, 2, tokens), 0.1),
        Turn("", Completion("", Finish.LENGTH, 1, exact, reasoning="hm"), 0.2),
        Turn("", Completion("y", Finish.STOP, 4), 0.0),
    )
    episode = Episode(
        *("p", Task("train", 3), 2, 5, turns, Ending.OVERLONG, 0.1 + 0.2, True),
        feedback="f",
        answer="a",
        error="e",
    )
    journal = RoundJournal(tmp_path / "round.jsonl")
    journal.begin(4, 5)
    journal.add_episodes(0, [episode], 1.5)
    journal.close()
    again = RoundJournal(tmp_path / "round.jsonl")
    again.begin(4, 5)
    stored = again.episodes(again.next_rollout())
    again.close()
    assert stored[slot_of(episode)].episode == episode
    assert stored[slot_of(episode)].seconds == 1.5
    assert episode_from(episode_record(episode)) == episode
    assert all(
        type(t) is int for t in stored[slot_of(episode)].episode.turns[0].completion.tokens.sampled
    )


def test_log_probabilities_of_a_real_model_read_back_bit_for_bit(tiny_policy):
    requests = [
        Request(str(n), (Message("user", "go"),), Sampling(max_tokens=9), n) for n in (1, 2)
    ]
    for _, completion in tiny_policy.generate(deque(requests)):
        turn = Turn("go", completion, 1.0)
        episode = Episode("p", Task("train", 1), 0, 0, (turn,), Ending.TERMINATED, 1.0)
        record = json.loads(json.dumps(episode_record(episode)))
        assert episode_from(record) == episode
        assert record["turns"][0]["completion"]["tokens"]["logprobs"][0] == "<f4"


def test_equal_requests_get_their_answers_in_the_order_of_sampling(tmp_path):
    class Counter:
        name, version, context = "counter", 0, None
        said = 0

        def generate(self, waiting):
            while waiting:
                Counter.said += 1
                yield waiting.popleft().id, Completion(str(Counter.said), Finish.STOP, 1)

    def ask(policy):
        request = Request("r", (Message("user", "again"),), Sampling(), 1, "reflect")
        return [c.text for _, c in policy.generate(deque([request]))]

    def opened(path: Path) -> Metered:
        policy = Metered(Counter(), Meter(Callback()), deterministic=False)
        policy.meter.journal = RoundJournal(path)
        policy.meter.journal.begin(0, 0)
        return policy

    first = opened(tmp_path / "round.jsonl")
    assert [ask(first), ask(first)] == [["1"], ["2"]]
    first.meter.journal.close()
    again = opened(tmp_path / "round.jsonl")
    assert [ask(again), ask(again), ask(again)] == [["1"], ["2"], ["3"]]
    assert again.meter.spent.reflection_tokens == 3
    again.meter.journal.close()


def test_tokens_of_running_rows_are_known_to_callbacks(tiny_policy):
    class Counting(Callback):
        def sampling(self, unfinished):
            self.unfinished = unfinished

    callback = Counting()
    policy = MeteredTrainable(tiny_policy, Meter(callback))
    for asked in (policy, policy.reference):
        requests = [
            Request(str(n), (Message("user", "go"),), Sampling(max_tokens=n), n) for n in (2, 40)
        ]
        counts = [callback.unfinished() for _ in asked.generate(deque(requests))]
        # The longer one runs on when the shorter one has ended.
        assert counts[0] == 2 and counts[1] == 0
