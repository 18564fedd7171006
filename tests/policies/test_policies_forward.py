"""`model.forward` chooses between transformers' forward pass and the fast one; they agree."""

import json
import shutil
from collections import deque
from pathlib import Path

import pytest

from harness.errors import ModelError
from harness.policies.base import BatchSize, Request, Sample, Sampling, Step, TokenBatch
from harness.policies.hf.fast_llama.decode import FastDecoder
from harness.policies.hf.fast_llama.train_forward import PackedForward
from harness.policies.hf.policy import HFPolicy
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Completion, Message

CHOICES = ("auto", "transformers", "fast")
TALKS = ("Count to three.", "Name a colour.", "Count to three.", "x")


def opened(folder: Path, forward: str) -> HFPolicy:
    settings = ModelSettings(device="cpu", threads=1, batch_rows=3, lora_rank=4, forward=forward)
    return HFPolicy(f"hf:{folder}", ModelSource(folder), settings)


def completions(policy: HFPolicy) -> list[Completion]:
    asked = [
        Request(f"{n}", (Message("user", text),), Sampling(max_tokens=12), seed=n)
        for n, text in enumerate(TALKS)
    ]
    found = dict(policy.generate(deque(asked)))
    return [found[request.id] for request in asked]


def loss(batch: TokenBatch, size: BatchSize):
    return -(batch.new * batch.advantage * batch.mask).sum() / size.tokens


def test_the_choice_decides_who_samples_and_trains(tiny_model: Path) -> None:
    for forward in CHOICES:
        policy = opened(tiny_model, forward)
        fast = forward != "transformers"
        assert isinstance(policy._sampler._decoder, FastDecoder) is fast
        assert isinstance(policy._train_forward, PackedForward) is fast
        assert (
            "Sampling by transformers' own forward pass: model.forward says so." in (policy.notes)
        ) is not fast


def test_both_sample_and_train_alike_up_to_rounding(tiny_model: Path) -> None:
    plain, fast = (opened(tiny_model, forward) for forward in ("transformers", "fast"))
    for _ in range(2):  # before an update, and after it
        one, two = completions(plain), completions(fast)
        assert [c.text for c in one] == [c.text for c in two]
        for a, b in zip(one, two, strict=True):
            assert a.tokens is not None and b.tokens is not None
            assert a.tokens.sampled == b.tokens.sampled
            assert a.tokens.logprobs == pytest.approx(b.tokens.logprobs, abs=1e-4)
        samples = [
            Sample(c.tokens.prompt, c.tokens.sampled, c.tokens.logprobs, n - 1.5)
            for n, c in enumerate(one)
            if c.tokens is not None
        ]
        told, also = (p.update(samples, loss, Step(learning_rate=1e-3)) for p in (plain, fast))
        assert told == pytest.approx(also, rel=1e-3, abs=1e-4)


def test_the_choice_changes_no_identity(tiny_model: Path) -> None:
    one, *others = (opened(tiny_model, forward).identity for forward in CHOICES)
    assert all(other == one for other in others)


def test_fast_is_refused_where_the_model_is_not_supported(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu"}))
    with pytest.raises(ModelError, match=r"does not support.*its activation is gelu: leave out"):
        opened(folder, "fast")
    assert completions(opened(folder, "auto"))
