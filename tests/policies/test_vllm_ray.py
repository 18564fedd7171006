"""`vllm:` engines as actors of a Ray cluster, where vLLM and Ray are installed.

The learner is in the run's process and has no engine; what it learns reaches engines as adapters.
"""

import json
import time
from pathlib import Path

import pytest
from torch_engine import play, reinforce

from harness.cli.main import main
from harness.engine import EngineSection
from harness.policies.base import Sampling, Step
from harness.policies.settings import ModelSettings
from harness.policies.vllm_base import installed

URL = "vllm:pocket?cache=0.25"
SETTINGS = ModelSettings(device="cpu", threads=1, lora_rank=8, batch_rows=8)
STEP = Step(learning_rate=1e-2)

pytestmark = [
    pytest.mark.skipif(not installed(), reason="not run: vllm is not installed"),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, in its own words
    pytest.mark.timeout(1200),  # an engine takes a minute to start, several on a busy machine
    pytest.mark.slow,
    pytest.mark.xdist_group("vllm"),
]


def engines_alive() -> list[int]:
    """Processes of vLLM's, by the title that they give themselves."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"VLLM::EngineCore" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_engines_serve_each_update_and_the_learner_agrees_with_them(ray):
    from harness.policies.remote_ray import open_remote

    before = set(engines_alive())
    policy = open_remote(URL, SETTINGS, EngineSection(name="ray", samplers=2))
    try:
        assert len(set(engines_alive()) - before) == 2
        assert policy.identity["engine"] == "vllm"
        assert policy.versions["vllm"] == installed()
        reference = play(policy.reference)
        for sampling in (None, Sampling(1.3, 0.8, 12)):
            samples = play(policy, sampling=sampling)
            told = policy.update(samples, reinforce, STEP)
            assert told["logprob_gap"] < 1e-4  # float32 in two engines
            assert [s.logprobs for s in play(policy, sampling=sampling)] != [
                s.logprobs for s in samples
            ]
        assert policy.version == 2
        assert [s.sampled for s in play(policy.reference)] == [s.sampled for s in reference]
    finally:
        policy.close()
    until = time.monotonic() + 60
    while set(engines_alive()) - before:
        assert time.monotonic() < until, "an engine outlived its actor"
        time.sleep(0.5)


def test_a_lost_engine_is_started_again_and_serves_the_newest_version(ray, tmp_path):
    from harness.policies.remote_ray import open_remote

    policy = open_remote(URL, SETTINGS, EngineSection(name="ray", samplers=1))
    try:
        first = play(policy)
        policy.update(first, reinforce, STEP)
        policy.save(tmp_path)
        learnt = play(policy)
        assert [s.logprobs for s in learnt] != [s.logprobs for s in first]
        ray.kill(policy.engines._all[0], no_restart=False)
        again = play(policy)
        assert policy.engines.lost == 1
        assert [s.sampled for s in again] == [s.sampled for s in learnt]
        policy.update(learnt, reinforce, STEP)
        policy.load(tmp_path)
        assert policy.version == 1
        assert [s.sampled for s in play(policy)] == [s.sampled for s in learnt]
    finally:
        policy.close()


def test_a_run_with_vllm_engines_as_actors(ray_cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = ("model.threads=1", "model.lora_rank=4", "budget.tasks=2", "budget.prompts=2")
    settings += ("budget.samples=2", "sampling.max_tokens=8", "engine.samplers=2")
    words = ["run", "--env", "arithmetic", "--model", URL, "--method", "rl", "--preset", "laptop"]
    words += ["--episodes", "16", "--test-tasks", "2", "--samples", "1", "--quiet"]
    words += ["--engine", "ray", "--address", ray_cluster.address, "--run-dir", "out"]
    assert main([*words, *(w for s in settings for w in ("--set", s))]) == 0
    entry = json.loads((tmp_path / "out" / "entry.json").read_text())
    assert entry["spent"]["episodes"] == 16
    assert entry["track"]["engine"].startswith("vllm")
