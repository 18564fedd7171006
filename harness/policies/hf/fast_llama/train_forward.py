"""Hand-written forward pass of the Llama family with gradients, for updates.

Every linear layer processes each token of a batch once, without padding, with the adapter beside
the loaded weights; only attention is padded (`tree_packing` has the layout). Logits and gradients
equal those of transformers' forward pass up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.policies.base import Sample
from harness.policies.hf.fast_llama.autograd import adapted, normed
from harness.policies.hf.fast_llama.fused_weights import FusedLlama, Norm, Norms, Projection
from harness.policies.hf.fast_llama.tree_packing import AttentionCall, pack

_UNFUSED_SCORES = 2**20  # scores of one call, up to which unfused attention is faster


class PackedForward:
    """A `TrainForward` for supported models; on a CPU its sums have a fixed order."""

    padded = False

    def __init__(self, llama: FusedLlama, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self.device = llama.device
        self._llama = llama

    def completion_logits(self, batch: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """See `TrainForward.completion_logits`."""
        llama, packed = self._llama, pack(batch)
        x = F.embedding(packed.ids, llama.embedding)
        rotation = llama.rotation(packed.positions[:, None], packed.longest)
        cos, sin = rotation[0][:, 0], rotation[1][:, 0]
        for norms, parts in zip(llama.norms, llama.projections, strict=True):
            qkv, out, gate_up, down = parts
            heads = _product(qkv, _norm(norms.attention, x))
            heads = heads.view(len(x), -1, llama.channels)
            x = x + _product(out, self._attention(norms, heads, cos, sin, packed.calls))
            gate, up = _product(gate_up, _norm(norms.network, x)).chunk(2, -1)
            x = x + _product(down, F.silu(gate) * up)
        x = _norm(llama.final_norm, F.embedding(packed.logit_tokens, x))
        return F.linear(x, llama.head.weight, llama.head.bias), packed.logit_of

    def _attention(
        self, norms: Norms, heads: Tensor, cos: Tensor, sin: Tensor, calls: Sequence[AttentionCall]
    ) -> Tensor:
        """Map queries, keys and values [token, head, channel] to mixed values [token, channel]."""
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
        unfused_is_exact = (
            q_padded.dtype == torch.float32
        )  # the fused kernel computes in float32 for any dtype
        if unfused_is_exact and q_padded.shape[1] * call.mask.numel() <= _UNFUSED_SCORES:
            mixed = _unfused(q_padded, keys, values, call.mask, llama.scale)
        else:
            mixed = F.scaled_dot_product_attention(
                q_padded,
                keys,
                values,
                attn_mask=call.mask.to(q_padded.dtype),
                scale=llama.scale,
                enable_gqa=q_padded.shape[1] != keys.shape[1],
            )
        return F.embedding(call.back, mixed.transpose(1, 2).reshape(segments * width, -1))


def _unfused(q_padded: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention as batched products.

    For few scores its gradient takes less time than that of the fused kernel, at more memory.
    """
    segments, heads, width, channels = q_padded.shape
    columns, sharing = keys.shape[2], heads // keys.shape[1]
    # The query heads that share a KV head become rows of one product.
    q_padded = q_padded.reshape(-1, sharing * width, channels)
    keys, values = (x.reshape(-1, columns, channels) for x in (keys, values))
    added = mask.expand(-1, heads, -1, -1).reshape(len(q_padded), -1, columns)
    scores = torch.baddbmm(added, q_padded, keys.transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), values).view(segments, heads, width, channels)


def _product(projection: Projection, x: Tensor) -> Tensor:
    if not projection.active:
        return F.linear(x, projection.weight, projection.bias)
    return adapted(x, projection.weight, projection.bias, projection.adapters())


def _norm(norm: Norm, x: Tensor) -> Tensor:
    return normed(x, norm.weight, norm.epsilon)
