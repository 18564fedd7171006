"""The formulas of an update's memory agree with what autograd keeps."""

from typing import Any

import pytest
import torch
from transformers import Qwen3Config

from benchmarks.speed.memory_count import COMMON, MODELS, RANK, count
from harness.policies.base import Sample
from harness.policies.hf.activation_memory import (
    ModelShape,
    activation_bytes,
    checkpointed_layer_bytes,
    checkpointing_needed,
    layer_bytes,
)
from harness.policies.hf.adapters.lora_layers import LoraShape
from harness.policies.hf.fast_llama.fused_weights import FusedLlama
from harness.policies.hf.fast_llama.train_forward import PackedForward
from harness.policies.hf.lora import LoraAdapter
from tests.policies.test_policies_lean import FAMILY, SIZES, made


def kept_bytes(config: Any, tokens: int, checkpointing: bool) -> tuple[int, ModelShape]:
    """Bytes that autograd keeps for one text, without the model's own tensors."""
    model = made(config, torch.bfloat16)
    forward = PackedForward(FusedLlama(model))
    adapter = LoraAdapter(model, LoraShape(rank=8, alpha=8, seed=1))
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    seen: dict[int, torch.UntypedStorage] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in own:
            seen[storage._cdata] = storage
        return x

    one = Sample((1,), tuple(range(3, 3 + tokens)), (0.0,) * tokens, 1.0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), adapter.switched(on=True):
        forward.completion_states([one], checkpointing)
    return sum(s.nbytes() for s in seen.values()), ModelShape.of(model.config, 8, 2)


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_the_formula_gives_what_autograd_keeps(name: str) -> None:
    small = {"vocab_size": 2000, "hidden_size": 256, "intermediate_size": 700, "head_dim": 64}
    found = {}
    for checkpointing in (False, True):
        for layers in (2, 3):
            config = type(FAMILY[name]())(**{**SIZES, **small, "num_hidden_layers": layers})
            found[layers, checkpointing], shape = kept_bytes(config, 1500, checkpointing)
    plain, recomputed = (found[3, on] - found[2, on] for on in (False, True))
    assert plain / 1500 == pytest.approx(layer_bytes(shape), rel=0.1)
    assert recomputed / 1500 == pytest.approx(checkpointed_layer_bytes(shape), rel=0.1)
    assert recomputed < plain / 5


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_formula_gives_the_peak_counted_at_true_dimensions(
    name: str, checkpointing: bool
) -> None:
    found = count(name, 15_000, checkpointing, layers=4)
    config = Qwen3Config(**COMMON, **MODELS[name], num_hidden_layers=4)
    shape = ModelShape.of(config, RANK, itemsize=2)
    gradients = found.adapter // 3
    expected = activation_bytes(shape, 15_000, checkpointing) + gradients
    assert found.peak - found.weights - found.adapter == pytest.approx(expected, rel=0.1)


def test_qwen3_4b_fits_a_reply_of_15000_tokens_in_25_gigabytes() -> None:
    # What every further layer adds is its weights, its adapter, and its kept input.
    two, four = (count("Qwen3-4B", 15_000, True, layers=n) for n in (2, 4))
    assert two.peak + 17 * (four.peak - two.peak) <= 25e9
    without = [count("Qwen3-4B", 15_000, False, layers=n).peak for n in (2, 4)]
    assert without[0] + 17 * (without[1] - without[0]) > 80e9


def test_checkpointing_is_used_where_activations_would_take_most_of_the_free_memory() -> None:
    shape = ModelShape.of(FAMILY["qwen3"](), rank=4, itemsize=4)
    needed = activation_bytes(shape, 1000, checkpointing=False)
    assert not checkpointing_needed("auto", shape, 1000, 3 * needed)
    assert checkpointing_needed("auto", shape, 1000, int(1.5 * needed))
    assert not checkpointing_needed("auto", shape, 1000, None)
    assert checkpointing_needed("on", shape, 1, None)
    assert not checkpointing_needed("off", shape, 1000, 1)
