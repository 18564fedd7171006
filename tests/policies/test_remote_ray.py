"""Engines as actors: the same replies whoever gives them, the new weights at once, none doubled."""

import json
import threading
import time
from collections import deque

import pytest
from clusters import cluster

from harness.cli.main import main
from harness.engine import EngineSection
from harness.policies import open_policy
from harness.policies.base import Request, Sample, Sampling, Step
from harness.policies.settings import ModelSettings
from harness.types import Message

SETTINGS = ModelSettings(device="cpu", threads=1, batch_rows=4, lora_rank=4, lora_alpha=8)
STEP = Step(learning_rate=0.05)


def loss(batch, size):
    ratio = ((batch.new - batch.old) * batch.mask).exp()
    return -(ratio * batch.advantage * batch.mask).sum() / size.sequences


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


@pytest.fixture(scope="module")
def one():
    with cluster(cpus=4) as made:
        yield made


@pytest.fixture
def ray(one):
    import ray

    ray.init(address=one.address, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_replies_steps_and_losses_of_engines_are_those_of_one_process(ray, tiny_model):
    from harness.policies.remote_ray import open_remote

    url = f"hf:{tiny_model}"
    here = open_policy(url, SETTINGS)
    away = open_remote(url, SETTINGS, EngineSection(name="ray", samplers=2))

    replies = list(away.generate(requests(22)))
    assert sorted(replies) == sorted(in_chunks(here, requests(22)))
    samples = [
        Sample(c.tokens.prompt, c.tokens.sampled, c.tokens.logprobs, 1.0 if n % 2 else -1.0)
        for n, (_, c) in enumerate(sorted(replies))
    ]
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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_with_samplers_ends_like_one_without(one, tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ("model.threads=1", "model.batch_rows=64", "model.lora_rank=4", "budget.tasks=3")
    settings += ("budget.prompts=2", "budget.samples=2", "method.learning_rate=0.01")
    settings += ("reflection.model=scripted:constant=ADD: look twice", "sampling.max_tokens=12")
    words = ["run", "--env", "arithmetic", "--model", f"hf:{tiny_model}", "--method", "espl"]
    words += ["--preset", "laptop", "--episodes", "36", "--test-tasks", "8", "--samples", "2"]
    words += ["--quiet", *(w for s in settings for w in ("--set", s))]
    ray = ["--engine", "ray", "--address", one.address, "--set", "engine.samplers=2"]
    assert main([*words, "--run-dir", "alone"]) == 0
    assert main([*words, "--run-dir", "shared", *ray]) == 0
    for name in ("episodes.jsonl", "population.jsonl", "test.jsonl", "champion.json"):
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    alone, shared = (
        json.loads((tmp_path / d / "entry.json").read_text()) for d in ("alone", "shared")
    )
    assert alone["track"] == shared["track"]
    assert alone["adapter_hash"] == shared["adapter_hash"]
    assert alone["outcomes"] == shared["outcomes"]
