"""`model.checkpointing` and `model.attn_implementation` change memory and kernels, not results."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from harness.errors import ModelError
from harness.policies.base import BatchSize, Sample, Step, TokenBatch
from harness.policies.hf.policy import HFPolicy
from harness.policies.hf.training import padded_forward
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings

SAMPLES = [
    Sample((1, 50, 60), tuple(range(70, 70 + n)), (-1.0,) * n, 1.0 - i)
    for i, n in enumerate((5, 40, 40))
]


def loss(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
    return -(batch.new * batch.advantage * batch.mask).sum() / size.tokens


def opened(folder: Path, **settings: Any) -> HFPolicy:
    common: dict[str, Any] = {"device": "cpu", "threads": 1, "lora_rank": 4}
    return HFPolicy("hf:tiny", ModelSource(folder), ModelSettings(**common, **settings))


def trained(policy: HFPolicy) -> dict[str, torch.Tensor]:
    for _ in range(2):
        policy.update(SAMPLES, loss, Step(learning_rate=1e-3))
    assert policy._adapter is not None
    return policy._adapter.weights()


def test_checkpointing_changes_no_bit_of_the_packed_pass(tiny_model: Path) -> None:
    kept, recomputed = (trained(opened(tiny_model, checkpointing=c)) for c in ("off", "on"))
    assert all(torch.equal(kept[name], recomputed[name]) for name in kept)


def test_checkpointing_computes_layers_again_and_leaves_them_as_they_were(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = opened(tiny_model, checkpointing="on", forward="transformers")
    layers = [m for m in policy._model.modules() if isinstance(m, GradientCheckpointingLayer)]
    calls: list[object] = []
    original = type(layers[0]).forward

    def counted(layer: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(layer)
        return original(layer, *arguments, **options)

    monkeypatch.setattr(type(layers[0]), "forward", counted)
    policy.update(SAMPLES, loss, Step(learning_rate=1e-3))
    probes = 3  # two of the output layer, and the proof that the step left finite numbers
    batches = len(calls) - probes * len(layers)
    assert batches % (2 * len(layers)) == 0  # each layer forwards, and once more backwards
    assert not any("forward" in vars(layer) for layer in layers)


def test_auto_decides_by_the_memory_that_is_free(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = opened(tiny_model)
    forward = policy._train_forward
    assert not policy._needs_checkpointing(forward, 100)
    monkeypatch.setattr("harness.policies.hf.policy.free_memory", lambda device: 1_000_000)
    assert policy._needs_checkpointing(forward, 1000)
    assert not opened(tiny_model, checkpointing="off")._needs_checkpointing(forward, 1000)


def test_layers_that_cannot_be_checkpointed_are_refused_when_it_is_asked_for(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(padded_forward, "GradientCheckpointingLayer", type("Other", (), {}))
    policy = opened(tiny_model, checkpointing="on", forward="transformers")
    with pytest.raises(ModelError, match=r"cannot be checkpointed: leave out model\.checkpointing"):
        policy.update(SAMPLES, loss, Step())
    trained(opened(tiny_model, checkpointing="auto", forward="transformers"))


def test_eager_attention_gives_the_same_update_up_to_rounding(tiny_model: Path) -> None:
    chosen, eager = (
        opened(tiny_model, attn_implementation=name, forward="transformers")
        for name in ("auto", "eager")
    )
    assert eager._model.config._attn_implementation == "eager"
    assert chosen._model.config._attn_implementation != "eager"
    assert chosen.identity == eager.identity
    one, two = trained(chosen), trained(eager)
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)


def test_an_attention_that_is_not_installed_or_not_the_models_is_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"attn_implementation='flash_attention_2' .*cannot"):
        opened(tiny_model, attn_implementation="flash_attention_2")
    folder = tmp_path / "capped"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attn_logit_softcapping": 50.0}))
    with pytest.raises(ModelError, match=r"needs the attention 'eager', not 'sdpa': leave out"):
        opened(folder, attn_implementation="sdpa")
