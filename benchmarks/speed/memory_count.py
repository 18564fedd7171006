"""Counts the memory of an update at a model's true dimensions, on tensors without storage.

The packed forward pass, the chunked log-probabilities and the backward pass are the real code, on
PyTorch's meta device. Attention is counted as PyTorch's flash kernel for GPUs. A kernel's own
workspace and the allocator's rounding are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, Qwen3Config

from harness.policies.base import Sample
from harness.policies.hf.adapters.lora_layers import LoraShape
from harness.policies.hf.fast_llama.fused_weights import FusedLlama
from harness.policies.hf.fast_llama.train_forward import PackedForward
from harness.policies.hf.lora import LoraAdapter
from harness.policies.hf.training.chunked_logprobs import sampled_logprobs

PROMPT = 300  # tokens
LAYERS = 36
RANK = 32
COMMON: Mapping[str, Any] = {
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151_936,
    "max_position_embeddings": 40_960,
}
MODELS: Mapping[str, Mapping[str, Any]] = {
    "Qwen3-4B": {"hidden_size": 2560, "intermediate_size": 9728, "tie_word_embeddings": True},
    "Qwen3-8B": {"hidden_size": 4096, "intermediate_size": 12_288, "tie_word_embeddings": False},
}


@dataclass(frozen=True, slots=True)
class Count:
    """Bytes: base weights; adapter with AdamW's moments; kept for the backward pass; peak of all.

    `kept` has what autograd keeps between the two passes, without weights and adapter.
    """

    weights: int
    adapter: int
    kept: int
    peak: int


@dataclass
class Live(TorchDispatchMode):
    """Sums the storages that operations have made and that are still referred to."""

    peak: int = 0
    _live: dict[StorageWeakRef, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        own = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if _is(x)}
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            # A view, or a tensor changed in place, has the storage of an argument.
            if _is(x) and x.untyped_storage()._cdata not in own:
                self._live[StorageWeakRef(x.untyped_storage())] = x.untyped_storage().nbytes()
        self.peak = max(self.peak, self.now())
        return result

    def now(self) -> int:
        """Bytes in use."""
        self._live = {ref: size for ref, size in self._live.items() if not ref.expired()}
        return sum(self._live.values())


def _is(x: object) -> bool:
    return isinstance(x, Tensor) and x.device.type == "meta"


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    assert attn_mask is None  # the texts counted here need none
    flash: Any = torch.ops.aten._scaled_dot_product_flash_attention
    result: Tensor = flash(query, key, value, 0.0, is_causal, scale=scale)[0]
    return result


def count(name: str, tokens: int, checkpointing: bool, layers: int = LAYERS) -> Count:
    """Count one update of one completion of `tokens` tokens, prompt included, in bfloat16."""
    with torch.device("meta"):
        config = Qwen3Config(**COMMON, **MODELS[name], num_hidden_layers=layers)
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.requires_grad_(False)
    forward = PackedForward(FusedLlama(model))
    weights = _bytes([*model.parameters()])
    adapter = LoraAdapter(model, LoraShape(RANK, RANK, 0))
    trained = 3 * _bytes([*adapter.parameters.values()])  # itself and AdamW's two moments
    sampled = tokens - PROMPT
    one = Sample((1,) * PROMPT, (3,) * sampled, (0.0,) * sampled, 1.0)
    attention = patch("torch.nn.functional.scaled_dot_product_attention", _flash)
    with attention, Live() as live, adapter.switched(on=True):
        found, _ = sampled_logprobs([one], forward.completion_states([one], checkpointing))
        kept = live.now()
        torch.autograd.backward(found.sum())
    return Count(weights, trained, kept, weights + trained + live.peak)


def _bytes(tensors: Sequence[Tensor]) -> int:
    """Bytes of the different storages behind tensors; fused and tied weights share one."""
    storages = {x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in tensors}
    return sum(storages.values())
