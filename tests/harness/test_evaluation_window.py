"""Evaluation on backends whose results come in any order: a full window, an ordered log."""

import json
import random
import threading

import pytest

from harness.callbacks import Callback
from harness.env_pool import EnvPool
from harness.errors import ModelError
from harness.evaluate import Interrupted, evaluate, evaluation_tasks
from harness.metered import Meter, Metered
from harness.policies.base import Request, Sampling
from harness.policies.capabilities import TIMED_OUT
from harness.rollout import RolloutConfig, rollout
from harness.seeds import Seeds
from harness.storage.ordered_log import OrderedLog
from harness.types import Agent, Assignment, Completion, Ending, Finish, SystemPrompt, Task

ROOT = SystemPrompt("Say the number.")


class Killed(BaseException):
    """Ends a process where it stands; nothing catches it."""


class Window:
    """A policy that answers `size` requests at once, in an order of its own."""

    name, version, context = "window", 0, None

    def __init__(self, size, seed=0, fail=lambda request: "", kill_after=-1):
        self.size, self.rng, self.fail, self.left = size, random.Random(seed), fail, kill_after
        self.failures = {}
        self.seen, self.open_when_asked = [], []

    def generate(self, waiting):
        running: list[Request] = []
        while waiting or running:
            while waiting and len(running) < self.size:
                running.append(waiting.popleft())
                self.seen.append(running[-1].id)
            self.open_when_asked.append(len(running))
            request = running.pop(self.rng.randrange(len(running)))
            if words := self.fail(request):
                self.failures[request.id] = words
                continue
            if self.left == 0:
                raise Killed
            self.left -= 1
            yield request.id, Completion(str(request.seed % 10), Finish.STOP, 1)


def play(folder, echo, policy, stop=lambda: False):
    metered = Metered(policy, Meter(Callback()), deterministic=False)
    config = RolloutConfig(
        metered, EnvPool(echo), Sampling(), Seeds(2), purpose="evaluate", deterministic=False
    )
    tasks = evaluation_tasks("test", 10, None)
    path = folder / "test.jsonl"
    done = evaluate(Agent(ROOT, 0), tasks, 16, config, metered.meter, path, stop)
    assert done == [json.loads(line) for line in path.read_text().splitlines()]
    assert not (folder / "unfinished_test.jsonl").exists()
    return done, metered.meter.spent


def test_as_many_requests_as_there_is_room_for_are_always_under_way(tmp_path, echo):
    policy = Window(7)
    done, _ = play(tmp_path, echo, policy)
    assert [(line["task"], line["sample"]) for line in done] == [
        (f"test:{task}", sample) for task in range(10) for sample in range(16)
    ]
    # Never fewer than seven, until no more than seven episodes are left, of two turns at most.
    full = [n for n, count in enumerate(policy.open_when_asked) if count == 7]
    assert full == list(range(len(full)))
    assert len(policy.open_when_asked) - len(full) < 2 * 7


@pytest.mark.parametrize("after", [1, 50, 100, 200])
def test_what_ended_out_of_order_survives_a_kill(tmp_path, echo, after):
    (tmp_path / "whole").mkdir()
    whole, spent = play(tmp_path / "whole", echo, Window(30))
    first, again = Window(30, kill_after=after), Window(30, seed=1)
    with pytest.raises(Killed):
        play(tmp_path, echo, first)
    with (tmp_path / "unfinished_test.jsonl").open("a") as file:
        file.write('{"position": 3, "li')
    done, counted = play(tmp_path, echo, again)
    assert done == whole
    assert (counted.evaluation_episodes, counted.evaluation_tokens) == (
        spent.evaluation_episodes,
        spent.evaluation_tokens,
    )
    # Episodes under way are asked for again, with both of their turns; no other one is.
    assert len(first.seen) + len(again.seen) <= 240 + 2 * 30


def test_a_stop_waits_for_what_was_sent_and_goes_on_later(tmp_path, echo):
    first, again = Window(5), Window(5)
    calls = iter([False] * 40)
    with pytest.raises(Interrupted):
        play(tmp_path, echo, first, lambda: next(calls, True))
    stored = len((tmp_path / "test.jsonl").read_text().splitlines())
    assert 0 < stored < 160
    done, _ = play(tmp_path, echo, again)
    assert len(done) == 160
    assert len(first.seen) + len(again.seen) <= 240 + 2 * 5


def test_time_outs_alone_stop_the_evaluation_and_are_asked_again(tmp_path, echo):
    def late(request):
        return f"{TIMED_OUT}too slow" if "/test:4/3/" in request.id else ""

    with pytest.raises(ModelError, match=r"1 of 160 completions .* model\.timeout"):
        play(tmp_path, echo, Window(9, fail=late))
    again = Window(9)
    done, _ = play(tmp_path, echo, again)
    assert len(done) == 160 and all(line["ending"] != "failed" for line in done)
    assert len(again.seen) == 1

    def broken(request):
        return late(request) or ("refused" if "/test:6/3/" in request.id else "")

    (tmp_path / "other").mkdir()
    done, _ = play(tmp_path / "other", echo, Window(9, fail=broken))
    failed = [line["error"] for line in done if line["ending"] == "failed"]
    assert failed == [f"{TIMED_OUT}too slow", "refused"]


def test_an_outage_is_no_outcome(tmp_path, echo):
    with pytest.raises(ModelError, match="answered none of 160"):
        play(tmp_path, echo, Window(9, fail=lambda request: "gone"))
    assert (tmp_path / "test.jsonl").read_text() == ""


def test_a_line_that_was_moved_before_a_kill_is_there_once(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": 0}\n{"n": 1}\n')
    (tmp_path / "unfinished_a.jsonl").write_text(
        '{"position": 1, "line": {"n": 1}}\n{"position": 3, "line": {"n": 3}}\n'
    )
    log = OrderedLog(path)
    assert [n in log for n in range(5)] == [True, True, False, True, False]
    log.add(2, {"n": 2})
    log.close()
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [0, 1, 2, 3]


class Slow:
    """An environment of two turns; the first one of task 0 waits until others have ended."""

    system_prompt = ""
    release = threading.Event()

    def __init__(self, split):
        pass

    def reset(self, *, seed=None, options=None):
        self.task, self.turn = seed, 0
        return f"number {seed}", {}

    def step(self, action):
        self.turn += 1
        if self.task == 0 and self.turn == 1:
            assert self.release.wait(30)
        return "again", 1.0, self.turn == 2, False, {"success": True}

    def size(self, split):
        return 10

    def close(self):
        pass


def test_a_slow_environment_holds_up_only_its_own_episode():
    ended = []
    policy = Window(4)

    class Pool(EnvPool):
        def concurrency(self, split):
            return 4

    config = RolloutConfig(policy, Pool(Slow), Sampling(), Seeds(0), deterministic=False)
    assignments = [Assignment(ROOT, Task("test", n), 1) for n in range(10)]
    Slow.release.clear()
    for position, episode in rollout(assignments, config):
        assert episode.ending is Ending.TERMINATED
        ended.append(position)
        if len(ended) == 9:
            Slow.release.set()
    assert sorted(ended) == list(range(10)) and ended[-1] == 0
