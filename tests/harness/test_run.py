"""The run directory: what is kept, what is cut back, who may write, when test is opened."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from harness.arena import Arena
from harness.budget import BudgetPlan, Shape
from harness.callbacks import Callbacks
from harness.env_pool import EnvPool
from harness.errors import RunError
from harness.evaluate import CHUNK, Interrupted, evaluate, evaluation_tasks, record_test_agent
from harness.policies.base import Sampling
from harness.rollout import RolloutConfig
from harness.seeds import Seeds
from harness.storage.atomic_files import Log, lines, write_text
from harness.storage.lock import Lock
from harness.storage.run_dir import Run
from harness.train import train
from harness.types import Agent, Assignment, Report, SystemPrompt

ROOT = SystemPrompt("Say the number.")


class Counting:
    """A method that remembers how many episodes it saw, and stops the world at a given round."""

    def __init__(self, break_at=None):
        self.seen, self.break_at = 0, break_at

    def assign(self, round):
        if round.index == self.break_at:
            raise KeyboardInterrupt
        return [Assignment(ROOT, task, round.samples) for task in round.tasks]

    def learn(self, rollouts):
        self.seen += len(rollouts)
        return Report({"seen": float(self.seen)})

    def final_agent(self):
        return Agent(ROOT, 0)

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = state["seen"]


def attempt(folder, echo, talk, method):
    policy = talk(lambda r: "3")
    watchers = Callbacks([])
    policy.meter.callback = watchers
    run = Run(folder, policy, policy.meter)
    watchers.add(run)
    arena = Arena(echo, 10, policy, BudgetPlan(Shape(5, 1, 2), 4, 0), Sampling(), Seeds(1))
    try:
        train(method, arena, run)
    finally:
        run.close()
    return policy.meter.spent


def files(folder):
    return {n: (folder / n).read_text() for n in ("episodes.jsonl", "population.jsonl")}


def test_a_run_broken_off_ends_like_one_that_never_was(tmp_path, echo, talk):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    spent = attempt(tmp_path / "whole", echo, talk, Counting())
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path / "broken", echo, talk, Counting(break_at=2))
    method = Counting()
    again = attempt(tmp_path / "broken", echo, talk, method)
    assert method.seen == 40
    assert (again.episodes, again.acting_tokens) == (spent.episodes, spent.acting_tokens)
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_lines_of_an_unfinished_round_are_cut_back(tmp_path, echo, talk):
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path, echo, talk, Counting(break_at=1))
    with (tmp_path / "episodes.jsonl").open("a") as log:
        log.write('{"round": 1, "task": "half')
    attempt(tmp_path, echo, talk, Counting())
    rows = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert len(rows) == 40


def test_a_checkpoint_caught_between_its_two_renames_is_put_back(tmp_path, echo, talk):
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path, echo, talk, Counting(break_at=3))
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    method = Counting()
    attempt(tmp_path, echo, talk, method)
    assert method.seen == 40
    assert not (tmp_path / "checkpoint.old").exists()


def test_a_log_shorter_than_its_checkpoint_says_is_refused(tmp_path, echo, talk):
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path, echo, talk, Counting(break_at=2))
    (tmp_path / "episodes.jsonl").write_text("")
    with pytest.raises(RunError, match="shorter than its checkpoint"):
        attempt(tmp_path, echo, talk, Counting())


def test_a_checkpoint_of_another_schema_is_refused(tmp_path, echo, talk):
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path, echo, talk, Counting(break_at=2))
    state = tmp_path / "checkpoint" / "state.json"
    state.write_text(state.read_text().replace('"schema": 1', '"schema": 99'))
    with pytest.raises(RunError, match="schema 99"):
        attempt(tmp_path, echo, talk, Counting())


def test_a_second_process_is_refused_with_the_firsts_pid(tmp_path):
    with Lock(tmp_path / "run.lock"):
        path = f"__import__('pathlib').Path({str(tmp_path)!r}) / 'run.lock'"
        code = f"from harness.storage.lock import Lock; Lock({path})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode != 0
    assert f"in use by process {os.getpid()}" in done.stderr
    Lock(tmp_path / "run.lock").release()


def test_a_lock_ends_with_a_holder_that_is_killed_and_not_with_its_child(tmp_path):
    path = tmp_path / "run.lock"
    code = (
        "import subprocess, sys, time; from pathlib import Path; "
        f"from harness.storage.lock import Lock; held = Lock(Path({str(path)!r})); "
        "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE); "
        "print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as holder:
        child = int(holder.stdout.readline())
        with pytest.raises(RunError, match=f"in use by process {holder.pid};"):
            Lock(path)
        os.kill(child, signal.SIGSTOP)  # alive, and unable to notice that its parent is gone
        holder.kill()
        holder.wait()
    try:
        Lock(path).release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_second_holder_in_this_process_is_refused_too(tmp_path):
    with Lock(tmp_path / "run.lock"), pytest.raises(RunError, match=f"process {os.getpid()};"):
        Lock(tmp_path / "run.lock")


def test_a_file_system_without_locks_is_refused_in_one_sentence(tmp_path, monkeypatch):
    import fcntl

    def missing(descriptor, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(RunError, match=r"cannot be locked .* another file system"):
        Lock(tmp_path / "run.lock")


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run.lock").symlink_to(tmp_path / "mine.txt")
    with pytest.raises(RunError, match="cannot be locked"):
        Lock(tmp_path / "run.lock")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_torn_line_is_not_a_line(tmp_path):
    log = Log(tmp_path / "x.jsonl")
    log.append({"a": 1})
    end = log.sync()
    log.close()
    with (tmp_path / "x.jsonl").open("a") as file:
        file.write('{"a": 2')
    assert list(lines(tmp_path / "x.jsonl")) == [(end, {"a": 1})]


def test_replacing_a_file_leaves_no_part_behind(tmp_path):
    write_text(tmp_path / "a.txt", "one")
    write_text(tmp_path / "a.txt", "two")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "two"


class TestEvaluation:
    """Test is opened once, for an agent that was frozen before."""

    def play(self, folder, echo, talk, stop=lambda: False):
        policy = talk(lambda r: str(len(r.id)))
        table = RolloutConfig(policy, EnvPool(echo), Sampling(), Seeds(2), purpose="evaluate")
        tasks = evaluation_tasks("test", 10, None)
        agent = Agent(ROOT, 0)
        done = evaluate(agent, tasks, 16, table, policy.meter, folder / "test.jsonl", stop)
        return done, policy.meter.spent

    def test_a_killed_opening_goes_on_where_it_stopped(self, tmp_path, echo, talk):
        calls = iter([False, True])
        with pytest.raises(Interrupted):
            self.play(tmp_path, echo, talk, lambda: next(calls))
        assert len((tmp_path / "test.jsonl").read_text().splitlines()) == CHUNK
        with (tmp_path / "test.jsonl").open("a") as file:
            file.write('{"half')
        resumed, spent = self.play(tmp_path, echo, talk)
        (tmp_path / "whole").mkdir()
        whole, counted = self.play(tmp_path / "whole", echo, talk)
        assert resumed == whole and len(whole) == 160
        assert spent.evaluation_tokens == counted.evaluation_tokens
        assert spent.episodes == 0 and spent.evaluation_episodes == 160

    def test_the_same_tasks_are_chosen_for_every_run(self):
        chosen = evaluation_tasks("test", 100, 10)
        assert chosen == evaluation_tasks("test", 100, 10)
        assert len({t.seed for t in chosen}) == 10
        assert [t.seed for t in chosen] != list(range(10))

    def test_test_is_not_opened_for_a_second_agent(self, tmp_path):
        record_test_agent(tmp_path, Agent(ROOT, 1))
        record_test_agent(tmp_path, Agent(ROOT, 1))
        with pytest.raises(RunError, match="already evaluated on test with another agent"):
            record_test_agent(tmp_path, Agent(ROOT, 2))


def test_a_log_that_is_no_regular_file_has_no_lines(tmp_path):
    (tmp_path / "population.jsonl").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "rounds.jsonl")
    assert list(lines(tmp_path / "population.jsonl")) == []
    assert list(lines(tmp_path / "rounds.jsonl")) == []
