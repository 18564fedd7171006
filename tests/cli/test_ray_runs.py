"""Runs on a Ray cluster of two nodes on this machine: the same as serial, whatever is lost."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest
from clusters import add, cluster, need_ray

from harness.cli.main import main
from harness.storage.atomic_files import lines

HOME = Path(__file__).resolve().parents[2]
WORLD = '''
import time

import gymnasium
from envs import Problem, Verdict, TextEnv


class Slow(TextEnv):
    """A reply that is the number asked for is right; judging takes a moment."""

    name = "slow"
    system_prompt = "Say the number."
    reply_tokens = 12

    def size(self, split):
        return 24

    def problem(self, split, index):
        return Problem(f"{split}-{index}", f"{index % 3}", "1")

    def judge(self, reply, answer):
        time.sleep(0.04)
        return Verdict.right() if reply == answer else Verdict.wrong()


gymnasium.register("Mine/Slow-v0", entry_point="slow_world:Slow")
'''
SETTINGS = ("budget.tasks=4", "budget.prompts=2", "budget.samples=2", "sampling.max_tokens=12")
REFLECTOR = "reflection.model=scripted:constant=ADD: look twice"


@pytest.fixture(scope="module")
def two():
    with cluster() as made:
        yield made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "slow_world.py").write_text(WORLD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def request(run_dir, *words, episodes=96):
    sets = [w for s in (*SETTINGS, REFLECTOR) for w in ("--set", s)]
    world = ["--env", "slow_world:Mine/Slow-v0", "--model", "scripted:echo"]
    size = ["--episodes", str(episodes), "--test-tasks", "8", "--samples", "2", "--quiet"]
    runs = ["--method", "evolution", "--seeds", "0-2", "--preset", "laptop"]
    return ["run", *world, *runs, *size, *sets, "--run-dir", run_dir, *words]


def entry(place):
    told = json.loads((place / "entry.json").read_text())
    # Clocks and machines are not the same.
    for name in ("provenance", "participants", "execution_changes"):
        told.pop(name, None)
    for cost in (told["spent"], *told.get("learning_curve", ())):
        cost.pop("seconds")
    return told


def evidence(place):
    """What a run leaves behind that has no clock in it."""
    names = ("episodes.jsonl", "population.jsonl", "test.jsonl", "champion.json")
    return {name: (place / name).read_bytes() for name in names}


def kill_when_begun(made, node, places, killed):
    """Kill a node's processes once every early run has saved a round."""

    def work():
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            if all(len(list(lines(place / "rounds.jsonl"))) >= 2 for place in places):
                made.remove_node(node, allow_graceful=False)
                killed.append(time.monotonic())
                return
            time.sleep(0.05)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("run_dirs", ["shared", "shipped"])
def test_a_node_killed_in_the_middle_loses_nothing_and_doubles_nothing(
    two, folder, run_dirs, capsys, monkeypatch
):
    monkeypatch.setattr("harness.runs.ray.ray_runs._SEND", 0.0)
    node = add(two)
    killed: list[float] = []
    early = [folder / "lost" / f"evolution-seed{seed}" for seed in (0, 1)]
    killer = kill_when_begun(two, node, early, killed)
    words = ["--executor", "ray", "--address", two.address]
    code = main(request("lost", *words, "--set", f"executor.run_dirs={run_dirs}"))
    killer.join(5)
    said = capsys.readouterr().err
    assert code == 0, said
    assert killed, "no node was killed: the runs were too quick for this test"
    assert "its worker was lost" in said and "it goes on from round" in said
    assert main(request("serial")) == 0
    for seed in range(3):
        lost, serial = (folder / name / f"evolution-seed{seed}" for name in ("lost", "serial"))
        assert entry(lost) == entry(serial)
        assert evidence(lost) == evidence(serial)
        played = [
            tuple(x[k] for k in ("round", "prompt", "task", "sample"))
            for _, x in lines(lost / "episodes.jsonl")
        ]
        assert len(played) == len(set(played)) == 96
    began = time.monotonic()
    assert main(["resume", "lost", "--quiet", "--json"]) == 0  # nothing left: no cluster is asked
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_node_with_other_code_is_named_before_anything_runs(two, folder, capsys):
    other = folder / "other"
    for room in ("harness", "envs", "agents", "leaderboards"):
        ignore = shutil.ignore_patterns("results", "__pycache__", "*.safetensors")
        shutil.copytree(HOME / room, other / room, ignore=ignore)
    machine = other / "harness" / "system" / "hardware.py"
    machine.write_text(machine.read_text() + "# other\n")
    node = add(two, env_vars={"PYTHONPATH": str(other)})
    try:
        code = main(request("out", "--executor", "ray", "--address", two.address))
    finally:
        two.remove_node(node, allow_graceful=False)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 7
    assert "Node 127.0.0.1 has harness" in said and "install the same there" in said
    assert not list((folder / "out").glob("*/episodes.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("executor.cpus=64", "the most CPUs on one node is 1"),
        ("executor.gpus=1", "--set executor.gpus"),
        ("executor.resources=sandbox=1", "the most 'sandbox' on one node is 0"),
    ],
)
def test_resources_that_no_node_has_are_refused_at_once(two, folder, capsys, setting, said):
    words = ["--executor", "ray", "--address", two.address, "--set", setting]
    assert main(request("out", *words)) == 7
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:9", "No Ray cluster answers at 127.0.0.1:9"),
        ("somewhere", "give its head as HOST:PORT"),
        ("ray://127.0.0.1:10001", "give its head as HOST:PORT"),
    ],
)
def test_a_missing_cluster_is_reported_in_one_sentence(folder, capsys, address, said):
    need_ray()
    began = time.monotonic()
    assert main(request("out", "--executor", "ray", "--address", address)) == 7
    assert said in capsys.readouterr().err
    assert time.monotonic() - began < 15
