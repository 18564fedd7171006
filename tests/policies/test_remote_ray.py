"""Engines as actors: the same replies whoever gives them, the new weights at once, none doubled."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import replace

import pytest
from halves import ODD, ROUND, SETTINGS, TwoModels, evidence, write_world

from agents.parts import losses
from harness.cli import experiment
from harness.cli.executors import Serial
from harness.cli.main import main
from harness.engine import EngineSection
from harness.policies import open_policy
from harness.policies.base import BatchSize, Request, Sample, Sampling, Step
from harness.policies.behind import Behind
from harness.policies.carried import read_files
from harness.policies.settings import ModelSettings
from harness.types import Message

MODEL = ModelSettings(device="cpu", threads=1, batch_rows=4, lora_rank=4, lora_alpha=8)
STEP = Step(learning_rate=0.05)
loss = losses.build("importance_sampling", max_tokens=12, idle=BatchSize(0, 0))


def requests(count, tokens=12):
    return deque(
        Request(f"r{n}", (Message("user", f"say {n % 5}"),), Sampling(1.0, 1.0, tokens), seed=n)
        for n in range(count)
    )


def in_chunks(policy, asked, chunk=4):
    """What a single process says to the same chunks."""
    waiting = list(asked)
    return [
        reply
        for n in range(0, len(waiting), chunk)
        for reply in policy.generate(deque(waiting[n : n + chunk]))
    ]


@pytest.mark.slow
def test_replies_steps_and_losses_of_engines_are_those_of_one_process(ray, tiny_model):
    from harness.policies.remote_ray import open_remote

    url = f"hf:{tiny_model}"
    here = open_policy(url, MODEL)
    away = open_remote(url, MODEL, EngineSection(name="ray", samplers=2))

    replies = list(away.generate(requests(22)))
    assert sorted(replies) == sorted(in_chunks(here, requests(22)))
    samples = taught(replies)
    assert here.update(samples, loss, STEP) == away.update(samples, loss, STEP)
    again = sorted(away.generate(requests(22)))
    assert again == sorted(in_chunks(here, requests(22)))
    assert again != sorted(replies), "the step changed nothing, so nothing was shown"
    back = sorted(away.reference.generate(requests(8)))
    assert back == sorted(in_chunks(here.reference, requests(8)))

    # An engine goes away while both are at work; its chunk is answered by another.
    wanted = sorted(in_chunks(here, requests(64, 120)))
    engine = away.engines._all[0]

    def kill():
        time.sleep(0.6)
        ray.kill(engine, no_restart=False)

    threading.Thread(target=kill).start()
    given = list(away.generate(requests(64, 120)))
    assert away.engines.lost >= 1, "the engine was done before it was killed"
    assert len(given) == len({id for id, _ in given}) == 64
    assert sorted(given) == wanted
    away.engines.close()


def taught(replies):
    """Something to learn from replies."""
    return [
        Sample(c.tokens.prompt, c.tokens.sampled, c.tokens.logprobs, 1.0 if n % 2 else -1.0)
        for n, (_, c) in enumerate(sorted(replies))
    ]


@pytest.mark.slow
def test_a_learner_apart_takes_the_same_steps_and_a_lost_one_takes_its_step_again(
    ray, tiny_model, tmp_path
):
    from harness.policies.learner_ray import RemoteLearner

    url, engine = f"hf:{tiny_model}", EngineSection(name="ray", samplers=1, learner="actor")
    here, there = open_policy(url, MODEL), RemoteLearner(url, MODEL, engine)
    assert there.identity == here.identity and there.settings == here.settings
    samples = taught(here.generate(requests(8)))
    assert there.update(samples, loss, STEP) == here.update(samples, loss, STEP)
    ray.kill(there._actor, no_restart=False)
    assert there.update(samples, loss, STEP) == here.update(samples, loss, STEP)
    assert there.lost == 1 and there.version == here.version == 2
    for name, policy in (("here", here), ("there", there)):
        policy.save(tmp_path / name)
    assert read_files(tmp_path / "there") == read_files(tmp_path / "here")
    there.update(samples, loss, STEP)
    there.load(tmp_path / "here")
    assert there.update(samples, loss, STEP) == here.update(samples, loss, STEP)
    there.close()


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True])
def test_processes_of_one_learner_share_its_steps(ray, tiny_model, shard):
    from harness.policies.learner_ray import RemoteLearner

    words = {"learner": "actor", "learner_processes": 2, "shard": shard}
    url, settings = f"hf:{tiny_model}", replace(MODEL, micro_batch_tokens=150)
    here = open_policy(url, settings)
    there = RemoteLearner(url, settings, EngineSection(name="ray", samplers=1, **words))
    assert any("shared by 2 processes" in note for note in there.notes)
    assert any("FSDP2" in note for note in there.notes) is shard
    samples = taught(here.generate(requests(12)))
    for _ in range(2):
        one, two = here.update(samples, loss, STEP), there.update(samples, loss, STEP)
        assert two == pytest.approx(one, rel=1e-4, abs=1e-5)
    there.close()


@pytest.fixture
def words(ray_cluster, tiny_model, tmp_path, monkeypatch):
    """A request of six rounds of E-SPL, and what gives it engines on the cluster."""
    write_world(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = ["run", "--env", ODD, "--model", f"hf:{tiny_model}", "--method", "espl", "--quiet"]
    asked += ["--preset", "laptop", "--episodes", str(6 * ROUND), "--test-tasks", "4"]
    asked += ["--samples", "2", *(w for s in SETTINGS for w in ("--set", s))]
    return asked, [
        "--engine",
        "ray",
        "--address",
        ray_cluster.address,
        "--set",
        "engine.samplers=2",
    ]


def entry(place):
    """A row without what names the machine."""
    told = json.loads((place / "entry.json").read_text())
    told.pop("provenance")
    told["spent"].pop("seconds")
    return told


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_with_samplers_and_a_learner_apart_ends_like_one_without(words, tmp_path):
    asked, ray = words
    # The start model reflects, on the engines, while the learner takes its step.
    asked += ["--set", "reflection.model=reference", "--set", "reflection.max_tokens=16"]
    assert main([*asked, "--run-dir", "alone"]) == 0
    assert main([*asked, "--run-dir", "shared", *ray, "--set", "engine.learner=actor"]) == 0
    assert evidence(tmp_path / "shared") == evidence(tmp_path / "alone")
    assert entry(tmp_path / "shared") == entry(tmp_path / "alone")
    spent = entry(tmp_path / "alone")["spent"]
    assert spent["gradient_steps"] == 6 and spent["reflection_tokens"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sampled_while_it_learns_and_killed_a_run_ends_like_two_models_here(
    words, tmp_path, monkeypatch
):
    asked, ray = words
    stale = [*asked, *ray, "--set", "engine.samplers=1", "--set", "engine.staleness=1"]
    # Its worlds and its learner are in one process and its engines in others; all are killed.
    here = subprocess.Popen([sys.executable, "-m", "harness", *stale, "--run-dir", "killed"])
    rounds, deadline = tmp_path / "killed" / "rounds.jsonl", time.monotonic() + 120
    while not (rounds.exists() and rounds.read_text().count("\n") >= 2):
        assert here.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(here.pid, signal.SIGKILL)
    here.wait()
    assert not (tmp_path / "killed" / "test.jsonl").exists(), (
        "the run was over before it was killed"
    )
    assert main(["resume", "killed", "--quiet", "--json"]) == 0

    monkeypatch.setattr(
        experiment,
        "open_engine",
        lambda r: Behind(TwoModels(r.model_url, r.model), r.engine.staleness),
    )
    monkeypatch.setattr("harness.cli.run.executor", lambda _, terms: Serial(terms))
    assert main([*stale, "--run-dir", "here"]) == 0
    assert evidence(tmp_path / "killed") == evidence(tmp_path / "here")
    assert entry(tmp_path / "killed") == entry(tmp_path / "here")
