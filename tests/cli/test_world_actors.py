"""Worlds as actors: what is played is what is played here, whichever host is lost on the way."""

import threading
import time
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
from clusters import add

from harness.cli.main import main
from harness.cli.worlds import world_maker
from harness.config import Config, EnvSection
from harness.durable import lines
from harness.engine import EngineSection
from harness.play import Table, WorldPool, play
from harness.policies import open_policy
from harness.policies.base import Sampling
from harness.seeds import Seeds
from harness.types import Assignment, Ending, SystemPrompt, Task

MOODY = '''
import random

import gymnasium
from envs import Problem, Verdict, World


class Moody(World):
    """Says something else each time; breaks where it is told to."""

    name = "moody"
    briefing = ""
    side_by_side = 4
    moods = True

    def size(self, split):
        return 9

    def problem(self, split, index):
        mood = random.SystemRandom().random() if self.moods else 0
        return Problem(f"{split}-{index}", f"{index} {mood}", "1")

    def judge(self, reply, answer):
        if "7" in reply[:1]:
            raise ZeroDivisionError("the world broke")
        return Verdict.right()


class Turns(Moody):
    """The same in two turns."""

    def step(self, reply):
        if not hasattr(self, "begun") or not self.begun:
            self.begun = True
            return "go on", 0.0, False, False, {"outcome": "scored"}
        return super().step(reply)

    def reset(self, **words):
        self.begun = False
        return super().reset(**words)


class Sworn(Turns):
    """One that promises nothing, and says the same."""

    unrepeatable = "its weather changes"
    moods = False


for kind in ("Moody", "Turns", "Sworn"):
    gymnasium.register(f"Mine/{kind}-v0", entry_point=f"moody_world:{kind}")
'''


class Guesser:
    """Guesses in the middle of what it was told; `at` calls something at its n-th reply."""

    name, version, context = "guesser", 0, None

    def __init__(self, at=None):
        self.failures, self.said, self.at = {}, 0, at or {}
        self._inner = open_policy("scripted:echo")

    def generate(self, waiting):
        for id, completion in self._inner.generate(waiting):
            self.said += 1
            if self.said in self.at:
                self.at[self.said]()
            yield id, replace(completion, text=f"Guess: {self.said % 97}")


@pytest.fixture(scope="module")
def made(ray_cluster):
    add(ray_cluster, cpus=1, resources={"near": 2})
    return ray_cluster


def kill_hosts(most=None):
    """Kill the processes of hosts, all or so many, and wait until they are gone: `ray.kill` returns
    before the actor is, and what it still answers decides what a test sees.
    """
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if len(found) != most and " ".join(process.cmdline()).startswith("ray::Host"):
                process.kill()
                found.append(process)
    _, left = psutil.wait_procs(found, timeout=60)
    assert not left
    return len(found)


def hosts(world, **options):
    from harness.cli.world_actors import Hosts

    engine = EngineSection(name="ray", worlds=2, **options)
    return Hosts(Config(env=EnvSection(name=world), engine=engine))


def episodes(make, policy, count=6):
    """All that was played, in order."""
    worlds = WorldPool(make)
    cast = [Assignment(SystemPrompt("Find it."), Task("train", n), 2) for n in range(count)]
    table = Table(policy, worlds, Sampling(), Seeds(0))
    played = [e for _, e in sorted(play(cast, table), key=lambda pair: (pair[0], pair[1].sample))]
    worlds.close()
    return played


@pytest.mark.slow
def test_episodes_of_several_turns_survive_their_host(ray):
    away = hosts("guess_number", world_cpus=1)
    here = episodes(world_maker(Config(env=EnvSection(name="guess_number"))), Guesser())
    assert max(len(e.turns) for e in here) > 3
    assert episodes(away.make, Guesser()) == here

    def lose(n):
        return lambda: ray.kill(away._all[n], no_restart=False)

    # Each host is killed in the middle of the conversations that it holds.
    assert episodes(away.make, Guesser({20: lose(0), 33: lose(1)})) == here
    assert away.lost >= 2
    away.close()


@pytest.mark.slow
def test_what_says_something_else_is_unscored_and_what_fails_says_why(ray, tmp_path, monkeypatch):
    (tmp_path / "moody_world.py").write_text(MOODY)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, lost in (("Turns", True), ("Sworn", False)):
        away = hosts(f"moody_world:Mine/{name}-v0")
        # Four conversations are open and have said one thing each; then both hosts go away.
        played = episodes(away.make, Guesser({6: kill_hosts}), count=4)
        failed = [e for e in played if e.ending is Ending.FAILED]
        assert len(played) == 8 and away.lost
        assert bool(failed) is lost
        assert all("played again it said something else" in e.error for e in failed)
        assert all(e.ending is Ending.TERMINATED and e.scored for e in played if e not in failed)
        away.close()
    away = hosts("moody_world:Mine/Moody-v0")
    here = episodes(world_maker(Config(env=EnvSection(name="moody_world:Mine/Moody-v0"))), Sevens())
    there = episodes(away.make, Sevens())
    assert {e.error for e in there} == {e.error for e in here}
    assert all("ZeroDivisionError: the world broke (judge, line" in e.error for e in there)
    away.close()


class Sevens(Guesser):
    """Says what breaks that world."""

    def generate(self, waiting):
        for id, completion in super().generate(waiting):
            yield id, replace(completion, text="7")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_with_worlds_on_another_node_that_loses_them_ends_like_one_without(
    made, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = ["run", "--env", "guess_number", "--model", "scripted:constant=Guess: 40", "--quiet"]
    words += ["--method", "evolution", "--preset", "laptop", "--episodes", "480"]
    words += ["--test-tasks", "6", "--samples", "2", "--set", "sampling.max_tokens=12"]
    words += ["--set", "reflection.model=scripted:constant=ADD: look twice"]
    away = ["--engine", "ray", "--address", made.address, "--set", "engine.worlds=2"]
    away += ["--set", "engine.world_resources=near=1", "--set", "engine.world_cpus=0"]
    assert main([*words, "--run-dir", "alone"]) == 0
    killed = []

    def kill():
        rounds, deadline = tmp_path / "away" / "rounds.jsonl", time.monotonic() + 120
        while not (rounds.exists() and rounds.read_text().count("\n") >= 2):
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)
        killed.append(kill_hosts(most=1))

    killer = threading.Thread(target=kill)
    killer.start()
    assert main([*words, "--run-dir", "away", *away]) == 0
    killer.join()
    assert killed == [1], "the run was over before a host was killed"
    names = ("episodes.jsonl", "population.jsonl", "test.jsonl", "champion.json")
    for name in names:
        assert (tmp_path / "away" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    played = [line for _, line in lines(tmp_path / "away" / "rounds.jsonl")]
    assert played[-1]["spent"]["episodes"] == 480 and not any(r["unscored"] for r in played)
