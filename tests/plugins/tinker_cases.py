"""What the tests of `tinker:` share: a stand-in for a server in either shape, and small samples."""

from collections import deque
from dataclasses import replace

import pytest
from tinker_standin import KEY, tinker_server
from tinker_stub import put_in_place

from agents.parts.rl import losses
from harness.policies import open_policy
from harness.policies.base import BatchSize, Request, Sample, Sampling
from harness.settings.model import ModelSettings
from harness.types import Message

SETTINGS = ModelSettings(lora_rank=4, timeout=30.0, retries=0, concurrency=4)
IDLE = BatchSize(3, 11)


@pytest.fixture(name="server", params=["0.38", "0.25"])
def either_server(request, tiny_model, tmp_path, monkeypatch):
    put_in_place(monkeypatch, request.param, tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "llama").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    with tinker_server({"tiny/llama": tiny_model}, shape=request.param) as (url, server):
        monkeypatch.setenv("TINKER_BASE_URL", url)
        monkeypatch.setenv("TINKER_API_KEY", KEY)
        yield server


def opened(**changes):
    return open_policy("tinker:tiny/llama", replace(SETTINGS, **changes))


def prepared(server, **changes):
    """A policy whose trial is over, and its server with nothing of it remembered."""
    policy = opened(**changes)
    policy.prepare()
    server.calls.clear()
    server.lab.steps = 0
    return policy


def ask(id, **sampling):
    words = (Message("system", "Answer."), Message("user", f"Task {id // 2}"))
    return Request(f"r{id}", words, Sampling(**{"max_tokens": 5, **sampling}), seed=2**40 + id)


def play(policy, count=6):
    found = dict(policy.generate(deque([ask(i, max_tokens=3 + i % 3) for i in range(count)])))
    samples = []
    for i in range(count):
        tokens = found[f"r{i}"].tokens
        samples.append(Sample(tokens.prompt, tokens.sampled, tokens.logprobs, (-1.0) ** i * 0.7))
    return samples


def built(name, **more):
    return losses.build(name, max_tokens=5, zero_advantage=IDLE, **more)
