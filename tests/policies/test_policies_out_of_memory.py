"""Memory that runs out while a model samples or trains is said in one sentence."""

from collections import deque
from typing import Any

import pytest
import torch

from harness.errors import ModelError, OutOfMemory
from harness.policies.base import BatchSize, Request, Sample, Sampling, Step, TokenBatch
from harness.policies.hf.policy import HFPolicy
from harness.policies.memory_errors import update_error
from harness.settings.model import ModelSettings
from harness.system.resource_errors import as_resource_error, resource_errors_explained
from harness.types import Message

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    RuntimeError("std::bad_alloc"),
    MemoryError(),
]
CONVERSATION = (Message("user", "Say something."),)


def requests(count: int, tokens: int) -> deque[Request]:
    sampling = Sampling(1.0, 1.0, tokens)
    return deque(Request(str(i), CONVERSATION, sampling, i) for i in range(count))


def loss(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
    return -(batch.advantage * batch.new * batch.mask).sum()


@pytest.mark.parametrize("raised", ERRORS, ids=lambda e: str(e)[:30] or "MemoryError")
def test_sampling_names_rows_tokens_and_the_setting(
    tiny_policy: HFPolicy, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    sampler: Any = tiny_policy._sampler
    tiny_policy.rendering.ends = frozenset()
    step, calls = sampler._decode_step, []

    def failing(batch: Any, ended: list[int]) -> Any:
        calls.append(len(batch.rows))
        if len(calls) == 10:
            raise raised
        return step(batch, ended)

    monkeypatch.setattr(sampler, "_decode_step", failing)
    prompt = len(tiny_policy.rendering.prompt(CONVERSATION).ids)
    with pytest.raises(OutOfMemory) as error:
        list(tiny_policy.generate(requests(4, 30)))
    assert f"4 completions were sampled at a time, the longest with {prompt + 10}" in str(error)
    assert error.value.setting == "model.batch_rows=2"
    monkeypatch.undo()
    assert len(list(tiny_policy.generate(requests(4, 30)))) == 4


@pytest.mark.parametrize("raised", ERRORS, ids=lambda e: str(e)[:30] or "MemoryError")
def test_an_update_names_the_largest_piece_and_leaves_the_weights(
    tiny_policy: HFPolicy, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    samples = [Sample((5, 6, 7), (8,) * n, (-1.0,) * n, 1.0) for n in (40, 20)]

    def failing(*_: object, **__: object) -> None:
        raise raised

    with monkeypatch.context() as patched:
        patched.setattr("harness.policies.hf.trainer._completion_logprobs", failing)
        with pytest.raises(OutOfMemory, match=r"read 66 tokens at once; the longest text has 43"):
            tiny_policy.update(samples, loss, Step(learning_rate=0.1))
    assert tiny_policy.version == 0
    tiny_policy.update(samples, loss, Step(learning_rate=0.1))
    assert tiny_policy.version == 1


def test_other_errors_are_left_as_they_are(
    tiny_policy: HFPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(tiny_policy._sampler, "_sample", failing)
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(tiny_policy.generate(requests(2, 5)))


@pytest.mark.parametrize(
    ("total", "longest", "settings", "helps"),
    [
        (9000, 300, ModelSettings(), "model.micro_batch_tokens=4096"),
        (9000, 7000, ModelSettings(), "model.micro_batch_tokens=7000"),
        (9000, 300, ModelSettings(checkpointing="off"), "model.checkpointing=auto"),
        (30000, 15000, ModelSettings(), "model.checkpointing=on"),
        (30000, 15000, ModelSettings(checkpointing="on"), ""),
    ],
)
def test_the_setting_that_helps_is_the_first_that_can(
    total: int, longest: int, settings: ModelSettings, helps: str
) -> None:
    assert update_error(total, longest, settings).setting == helps


def test_a_run_says_how_to_go_on() -> None:
    again = "go on with harness resume runs/a"
    with (
        pytest.raises(
            ModelError, match=rf"an update: {again} --set model.batch_rows=4\.$"
        ) as error,
        resource_errors_explained("The run cannot go on", again),
    ):
        raise OutOfMemory("Memory ran out while an update", "model.batch_rows=4")
    assert error.value.exit_code == 4
    only_shorter = as_resource_error(OutOfMemory("Memory ran out", ""), "x", again)
    assert str(only_shorter).endswith("start a new run with a smaller sampling.max_tokens.")
    assert "free some" in str(OutOfMemory("Memory ran out", ""))
