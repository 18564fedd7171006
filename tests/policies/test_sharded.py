"""Two processes (gloo, on the CPU), each with half of the weights: samples and steps of one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STEPS = """
import json, os, signal, sys, time
from collections import deque
from dataclasses import replace
from pathlib import Path

import broken
from agents.parts import losses
from harness.engine import EngineSection
from harness.errors import ModelError
from harness.policies import open_policy
from harness.policies.base import BatchSize, Request, Sample, Sampling, Step
from harness.policies.launching import open_parallel
from harness.policies.settings import ModelSettings
from harness.types import Message

ASKED = [
    Request(f"r{n}", (Message("user", f"say {n} " * (1 + n % 3)),), Sampling(1.0, 1.0, 9 + n), n)
    for n in range(11)
]

def play(policy):
    return {id: c.tokens for id, c in policy.generate(deque(ASKED))}

def samples(given):
    return [Sample(t.prompt, t.sampled, t.logprobs, n - 5.5, 1.0, 1.0 if n % 2 else 0.8)
            for n, (_, t) in enumerate(sorted(given.items()))]

def steps(policy, given, out):
    loss = losses.build("importance_sampling", max_tokens=24, idle=BatchSize(0, 0))
    step = Step(learning_rate=0.01, reference=True)
    told = [policy.update(samples(given), loss, step) for _ in range(2)]
    policy.save(out)
    policy.update(samples(given), loss, step)
    policy.load(out)
    told.append(policy.update(samples(given), loss, step))
    policy.save(out)
    return told

def refused(what):
    began = time.monotonic()
    try:
        what()
    except ModelError as error:
        return str(error), time.monotonic() - began
    raise AssertionError("nothing was raised")

def main():
    url, out = sys.argv[1], Path(sys.argv[2])
    settings = ModelSettings(device="cpu", threads=1, batch_rows=8, lora_rank=4, lora_alpha=8,
                             micro_batch_tokens=250)
    alone = open_policy(url, settings)
    first = play(alone)
    shared = open_parallel(url, settings, EngineSection("accelerate", processes=2, shard=True))
    found = {"alone": steps(alone, first, out / "alone")}
    found["first"] = [first[id].sampled == t.sampled for id, t in play(shared).items()]
    found["shared"] = steps(shared, first, out / "shared")
    after = play(alone), play(shared)
    found["after"] = [after[0][id].sampled == t.sampled for id, t in after[1].items()]
    back = play(shared.reference)
    found["reference"] = [first[id].sampled == t.sampled for id, t in back.items()]
    found["sizes"] = [
        (p.numel(), p.to_local().untyped_storage().nbytes() // p.element_size())
        for n, p in shared._model.named_parameters() if "lora_" not in n
    ]
    found["said"] = [alone.logprobs(samples(first)), shared.logprobs(samples(first))]
    version = shared.version
    step = Step(learning_rate=0.01)
    found["broken"] = refused(lambda: shared.update(samples(first), broken.loss, step))
    assert shared.version == version
    assert play(shared) == after[1], "a step that failed left something behind"
    os.kill(shared._helpers[0].pid, signal.SIGKILL)
    found["killed"] = refused(lambda: play(shared))
    began = time.monotonic()
    shared.close()
    found["closed"] = time.monotonic() - began
    print(json.dumps(found))

if __name__ == "__main__":
    main()
"""
BROKEN = """
from torch import distributed

def loss(batch, size):
    if distributed.get_rank() == 1:
        raise ValueError("an odd reply")
    return -batch.new.sum()
"""
LONG = 60.0  # seconds; those who wait for each other wait for half an hour


@pytest.fixture(scope="module")
def found(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "steps.py").write_text(STEPS)
    (folder / "broken.py").write_text(BROKEN)
    paths = os.pathsep.join([str(folder), *sys.path])
    done = subprocess.run(
        [sys.executable, str(folder / "steps.py"), f"hf:{tiny_model}", str(folder)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1]) | {"folder": folder}


@pytest.mark.slow
@pytest.mark.xdist_group("sharded")
def test_steps_samples_and_checkpoints_are_those_of_one_process(found):
    import torch
    from safetensors.torch import load_file

    assert found["alone"][0]["grad_norm"] > 0
    for one, other in zip(found["alone"], found["shared"], strict=True):
        assert set(one) == set(other)
        for name, value in one.items():
            assert other[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    for name in ("adapter", "optimizer"):
        alone, shared = (
            load_file(found["folder"] / who / f"{name}.safetensors") for who in ("alone", "shared")
        )
        assert alone.keys() == shared.keys()
        for key, tensor in alone.items():
            assert torch.allclose(tensor, shared[key], rtol=1e-3, atol=1e-5), key
        assert any(t.abs().max() > 0 for t in shared.values())
    for who in ("first", "after", "reference"):
        assert all(found[who]), who
    for one, other in zip(*found["said"], strict=True):
        assert other == pytest.approx(one, abs=1e-4)


@pytest.mark.slow
@pytest.mark.xdist_group("sharded")
def test_each_process_holds_half_of_every_weight_between_passes(found):
    assert found["sizes"]
    for whole, held in found["sizes"]:
        assert held <= whole / 2 + 32, "a row may be there for the sake of equal shares"
    assert sum(h for _, h in found["sizes"]) <= 0.51 * sum(w for w, _ in found["sizes"])


@pytest.mark.slow
@pytest.mark.xdist_group("sharded")
def test_an_error_in_one_process_is_everybodys_and_a_lost_one_stops_the_run(found):
    told, seconds = found["broken"]
    assert "failed in 1 of 2 processes" in told
    assert seconds < LONG
    told, seconds = found["killed"]
    assert "was lost" in told
    assert "harness resume" in told
    assert seconds < LONG
    assert found["closed"] < LONG


def words(model, folder, *more):
    settings = ("model.threads=1", "model.lora_rank=4", "budget.tasks=2", "budget.prompts=2")
    settings += ("budget.samples=2", "sampling.max_tokens=8", "model.device=cpu")
    asked = ["--env", "arithmetic", "--model", f"hf:{model}", "--method", "rl", "--quiet"]
    asked += ["--preset", "laptop", "--episodes", "32", "--test-tasks", "2", "--samples", "1"]
    asked += [*more, "--run-dir", str(folder)]
    return ["run", *asked, *(w for s in settings for w in ("--set", s))]


def children(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="not run: processes are looked up in /proc"
)
def test_a_run_killed_half_way_leaves_no_process_and_is_resumed(tiny_model, tmp_path):
    harness = [sys.executable, "-m", "harness"]
    shard = ("--engine", "accelerate", "--set", "engine.shard=true")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen([*harness, *words(tiny_model, tmp_path / "run", *shard)], env=env)
    until = time.monotonic() + 120
    rounds = tmp_path / "run" / "rounds.jsonl"
    while not (rounds.exists() and rounds.read_text().count("\n") >= 2):
        assert run.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    helpers = children(run.pid)
    assert helpers
    run.send_signal(signal.SIGKILL)
    run.wait()
    while any(map(alive, helpers)):
        assert time.monotonic() < until, "a helper outlived its run"
        time.sleep(0.1)
    done = subprocess.run(
        [*harness, "resume", str(tmp_path / "run"), "--quiet"],
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    entry = json.loads((tmp_path / "run" / "entry.json").read_text())
    assert entry["spent"]["episodes"] == 32
    assert len((tmp_path / "run" / "episodes.jsonl").read_text().splitlines()) == 32
