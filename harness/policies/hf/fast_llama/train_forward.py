"""Hand-written forward pass of the Llama family with gradients, for updates.

Every linear layer processes each token of a batch once, without padding, with the adapter beside
the loaded weights; only attention is padded (`tree_packing` has the layout). Logits and gradients
equal those of transformers' forward pass up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.utils.checkpoint import checkpoint

from harness.policies.base import Sample
from harness.policies.hf.batching import tree_batches, tree_tokens
from harness.policies.hf.fast_llama.autograd import adapted, normed
from harness.policies.hf.fast_llama.fused_weights import FusedLlama, Norm, Norms, Projection
from harness.policies.hf.fast_llama.tree_packing import SMALL_SCORES, AttentionCall, pack
from harness.policies.hf.training.chunked_logprobs import CompletionStates, Head

Rotation = tuple[Tensor, Tensor]
"""Cosine and signed sine [token, 1, channel]."""

# Nothing here is random, so that no generator's state needs to be kept.
_recomputed: Any = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


class PackedForward:
    """A `TrainForward` for supported models; its sums have a fixed order."""

    packed = True
    can_checkpoint = True

    def __init__(self, llama: FusedLlama) -> None:
        self.device = llama.device
        self._llama = llama
        self._head = Head(llama.head.weight, llama.head.bias)

    def micro_batches(
        self, samples: Sequence[Sample], tokens: int, checkpointing: bool
    ) -> list[list[Sample]]:
        """See `TrainForward.micro_batches`."""
        return tree_batches(samples, tokens)

    def piece_tokens(self, batch: Sequence[Sample], checkpointing: bool) -> int:
        """See `TrainForward.piece_tokens`."""
        return tree_tokens(batch)

    def completion_states(self, batch: Sequence[Sample], checkpointing: bool) -> CompletionStates:
        """See `TrainForward.completion_states`."""
        llama, packed = self._llama, pack(batch, self.device)
        x = F.embedding(packed.ids, llama.embedding)
        cos, sin = llama.rotation(packed.positions[:, None], packed.longest)
        rotation = cos[:, 0], sin[:, 0]
        for layer in range(len(llama.norms)):
            run = partial(self._layer, layer)
            if checkpointing:
                run = partial(_recomputed, run)
            x = run(x, rotation, packed.calls)
        hidden = _norm(llama.final_norm, F.embedding(packed.logit_tokens, x))
        return CompletionStates(hidden, packed.logit_of, self._head)

    def _layer(
        self, layer: int, x: Tensor, rotation: Rotation, calls: Sequence[AttentionCall]
    ) -> Tensor:
        """One layer's output [token, channel] for its input."""
        norms = self._llama.norms[layer]
        qkv, out, gate_up, down = self._llama.projections[layer]
        heads = _product(qkv, _norm(norms.attention, x))
        heads = heads.view(len(x), -1, self._llama.channels)
        x = x + _product(out, self._attention(norms, heads, rotation, calls))
        gate, up = _product(gate_up, _norm(norms.network, x)).chunk(2, -1)
        return x + _product(down, F.silu(gate) * up)

    def _attention(
        self, norms: Norms, heads: Tensor, rotation: Rotation, calls: Sequence[AttentionCall]
    ) -> Tensor:
        """Map queries, keys and values [token, head, channel] to mixed values [token, channel]."""
        cos, sin = rotation
        shared = self._llama.kv_heads
        query_heads = heads.shape[1] - 2 * shared
        rotated, values = torch.split(heads, [query_heads + shared, shared], 1)
        if norms.query is not None and norms.key is not None:
            q, k = torch.split(rotated, [query_heads, shared], 1)
            rotated = torch.cat([_norm(norms.query, q), _norm(norms.key, k)], 1)
        rotated = rotated * cos + rotated.roll(rotated.shape[-1] // 2, -1) * sin
        q, k = torch.split(rotated, [query_heads, shared], 1)
        q = q.reshape(len(q), -1)
        kv = torch.cat([k, values], 1).view(len(q), -1)
        return torch.cat([self._attend(q, kv, call) for call in calls])

    def _attend(self, q: Tensor, kv: Tensor, call: AttentionCall) -> Tensor:
        """The result [token, channel] for the tokens of one attention call."""
        llama = self._llama
        segments, width = call.queries.shape
        q_padded = F.embedding(call.queries, q[call.first : call.last])
        q_padded = q_padded.view(segments, width, -1, llama.channels).transpose(1, 2)
        kv_padded = F.embedding(call.keys, kv).view(
            segments, call.keys.shape[1], 2, -1, llama.channels
        )
        keys, values = kv_padded.permute(2, 0, 3, 1, 4)
        mixed = _mixed(q_padded, keys, values, call, llama.scale)
        return F.embedding(call.back, mixed.transpose(1, 2).reshape(segments * width, -1))


def _mixed(q: Tensor, keys: Tensor, values: Tensor, call: AttentionCall, scale: float) -> Tensor:
    """Attention [segment, head, token, channel] in the way that suits the call and the device."""
    unfused_is_exact = q.dtype == torch.float32  # the fused kernel computes in it for any dtype
    if call.mask is not None and unfused_is_exact and q.shape[1] * call.scores <= SMALL_SCORES:
        return _unfused(q, keys, values, call.mask, scale)
    if call.causal and (call.mask is None or _on_gpu(q)):
        return _fused(q, keys, values, scale, causal=True)
    if call.aligned and _on_gpu(q):
        # A description of the mask, which the GPU's kernels follow without building it.
        described = causal_lower_right(q.shape[2], keys.shape[2])
        return _fused(q, keys, values, scale, mask=described)
    if call.mask is not None:
        return _fused(q, keys, values, scale, mask=call.mask)

    def block(first: int, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return _fused(q, keys, values, scale, mask=call.bias(first, first + q.shape[2]))

    # Computed again in the backward pass, which would otherwise keep the masks of all blocks.
    parts, rows = [], call.block_rows()
    for first in range(0, q.shape[2], rows):
        part = q[:, :, first : first + rows]
        columns = call.columns(first + part.shape[2])
        parts.append(_recomputed(block, first, part, keys[:, :, :columns], values[:, :, :columns]))
    return torch.cat(parts, 2)


def _on_gpu(x: Tensor) -> bool:
    return x.device.type == "cuda"


def _fused(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: float,
    mask: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    groups = q.shape[1] // keys.shape[1]
    half = q.dtype in (torch.bfloat16, torch.float16)
    if groups > 1 and _on_gpu(q) and not (causal and half):
        # Of the GPU's kernels that bound memory, only that without a mask shares heads in place.
        keys, values = (
            x[:, :, None].expand(-1, -1, groups, -1, -1).flatten(1, 2) for x in (keys, values)
        )
        groups = 1
    if mask is not None and type(mask) is Tensor:
        mask = mask.to(q.dtype)
    return F.scaled_dot_product_attention(
        q, keys, values, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=groups > 1
    )


def _unfused(q_padded: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention as batched products.

    For few scores its gradient takes less time than that of the fused kernel, at more memory.
    """
    segments, heads, width, channels = q_padded.shape
    columns, sharing = keys.shape[2], heads // keys.shape[1]
    # The query heads that share a KV head become rows of one product.
    q_padded = q_padded.reshape(-1, sharing * width, channels)
    keys, values = (x.reshape(-1, columns, channels) for x in (keys, values))
    added = mask.expand(segments, heads, -1, -1).reshape(len(q_padded), -1, columns)
    scores = torch.baddbmm(added, q_padded, keys.transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), values).view(segments, heads, width, channels)


def _product(projection: Projection, x: Tensor) -> Tensor:
    if not projection.active:
        return F.linear(x, projection.weight, projection.bias)
    return adapted(x, projection.weight, projection.bias, projection.adapters())


def _norm(norm: Norm, x: Tensor) -> Tensor:
    return normed(x, norm.weight, norm.epsilon)
