"""vLLM itself, where it is installed: the embedded model, one engine for all tests here."""

import os
import signal
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from torch_engine import ask, play, reinforce

from harness.policies import open_policy, require_trainable
from harness.policies.base import Request, Sampling, Step
from harness.policies.vllm.base import installed
from harness.policies.vllm.policy import VLLMPolicy
from harness.settings.model import ModelSettings
from harness.types import Message

pytestmark = [
    pytest.mark.skipif(not installed(), reason="not run: vllm is not installed"),
    pytest.mark.filterwarnings("ignore"),  # vLLM's own, in its own words
    pytest.mark.timeout(1200),  # an engine takes a minute to start, several on a busy machine
    pytest.mark.slow,
    pytest.mark.xdist_group("vllm"),
]
STEP = Step(learning_rate=1e-2)
CLOSE = 1e-4  # float32 in two engines


@pytest.fixture(scope="module")
def opened() -> Iterator[VLLMPolicy]:
    settings = ModelSettings(device="cpu", threads=1, lora_rank=8, batch_rows=32)
    policy = open_policy("vllm:pocket?cache=0.25", settings)
    assert isinstance(policy, VLLMPolicy)
    yield policy
    policy.close()


@pytest.fixture
def policy(opened: VLLMPolicy, tmp_path_factory: pytest.TempPathFactory) -> VLLMPolicy:
    """Back at the start."""
    if opened.version:
        opened.load(fresh(tmp_path_factory))
    return opened


def fresh(factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the untrained model."""
    folder = factory.mktemp("untrained")
    settings = ModelSettings(device="cpu", threads=1, lora_rank=8, batch_rows=32)
    require_trainable(open_policy("pocket", settings)).save(folder)
    return folder


def test_equal_requests_are_drawn_alike_and_seeds_differ(policy: VLLMPolicy) -> None:
    assert play(policy) == play(policy)
    other = [replace(ask(i), seed=100 + i) for i in range(8)]
    found = dict(policy.generate(deque(other)))
    drawn = [found[f"r{i}"].tokens for i in range(8)]
    assert [t.sampled for t in drawn if t] != [s.sampled for s in play(policy)]


def test_the_sampler_sees_each_update_and_agrees_with_the_trainer(policy: VLLMPolicy) -> None:
    reference = play(policy.reference)
    for version in (1, 2, 3):
        before = play(policy)
        told = policy.update(before, reinforce, STEP)
        assert told["logprob_gap"] < CLOSE
        assert policy.version == version
        assert [s.logprobs for s in play(policy)] != [s.logprobs for s in before]
    assert play(policy.reference) == reference


@pytest.mark.parametrize("sampling", [Sampling(0.5, 1.0, 12), Sampling(1.5, 0.8, 12)])
def test_they_agree_at_every_temperature_and_top_p(policy: VLLMPolicy, sampling: Sampling) -> None:
    samples = play(policy, sampling=sampling)
    assert policy.update(samples, reinforce, STEP)["logprob_gap"] < CLOSE
    if sampling.top_p < 1:
        plain = [replace(s, top_p=1.0) for s in play(policy, sampling=sampling)]
        assert policy.update(plain, reinforce, STEP)["logprob_gap"] < CLOSE


def test_what_was_saved_is_served_again(policy: VLLMPolicy, tmp_path: Path) -> None:
    policy.update(play(policy), reinforce, STEP)
    policy.save(tmp_path)
    first = play(policy)
    policy.update(first, reinforce, STEP)
    policy.load(tmp_path)
    # The prefix cache holds blocks of the version in between, under another name.
    again = play(policy)
    assert [s.sampled for s in again] == [s.sampled for s in first]
    assert again[0].logprobs == pytest.approx(first[0].logprobs, abs=CLOSE)


def test_a_grammar_is_kept_to(policy: VLLMPolicy) -> None:
    sampling = Sampling(1.0, 1.0, 40)
    requests = [
        Request(f"r{i}", (Message("user", "Say."),), sampling, i, "reflect", r"(NONE|REMOVE [1-9])")
        for i in range(6)
    ]
    said = {c.text for _, c in policy.generate(deque(requests))}
    assert said <= {"NONE", *(f"REMOVE {n}" for n in range(1, 10))}


def test_a_grammar_vllm_cannot_read_is_the_request_s_failure(policy: VLLMPolicy) -> None:
    bad = replace(ask(0), grammar="(")
    found = dict(policy.generate(deque([bad, ask(1)])))
    assert set(found) == {"r1"}
    assert policy.failures["r0"]


def test_many_long_prompts_at_once_are_answered(policy: VLLMPolicy) -> None:
    long = Message("user", "What is 2 + 2 ? " * 20)
    requests = [replace(ask(i), conversation=(long,)) for i in range(48)]
    assert len(dict(policy.generate(deque(requests)))) == 48


def test_an_abandoned_batch_leaves_the_engine_as_it_was(policy: VLLMPolicy) -> None:
    expected = play(policy)
    replies = policy.generate(deque([ask(i) for i in range(8)]))
    next(replies)
    assert isinstance(replies, Generator)
    replies.close()
    assert play(policy) == expected


def test_the_engine_is_not_hit_by_ctrl_c(opened: VLLMPolicy) -> None:
    blocked = []
    for status in Path("/proc").glob("[0-9]*/status"):
        fields = dict(
            line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line
        )
        if int(fields["PPid"]) == os.getpid() and "resource_tracker" not in fields["Name"]:
            mask = int(fields["SigBlk"], 16)
            blocked.append(bool(mask >> (signal.SIGINT - 1) & 1))
    assert any(blocked)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
