"""The Llama family's forward pass with gradients, for an update: see `flat` for its layout.

Every linear map reads each token of a batch once, without padding, on the loaded model's own
weights, with the adapter beside them; only attention is padded. Logits and gradients equal those of
the model's own forward pass but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.policies.base import Sample
from harness.policies.hf.fast_llama.autograd import adapted, normed
from harness.policies.hf.fast_llama.fused_weights import FusedLlama, Norm, Norms, Projection
from harness.policies.hf.fast_llama.tree_packing import Call, pack

_PLAIN = 2**20  # scores of one call up to which attention is not fused


class PackedForward:
    """Reads batches for a trainer (`trainer.Reader`); on a CPU its sums have one order."""

    padded = False

    def __init__(self, llama: FusedLlama, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self.device = llama.device
        self._llama = llama

    def replies(self, batch: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """See `trainer.Reader`."""
        llama, laid = self._llama, pack(batch)
        x = F.embedding(laid.ids, llama.embedding)
        rotation = llama.rotation(laid.positions[:, None], laid.longest)
        cos, sin = rotation[0][:, 0], rotation[1][:, 0]
        for norms, parts in zip(llama.norms, llama.projections, strict=True):
            qkv, out, gate_up, down = parts
            heads = _product(qkv, _norm(norms.attention, x))
            heads = heads.view(len(x), -1, llama.channels)
            x = x + _product(out, self._attention(norms, heads, cos, sin, laid.calls))
            gate, up = _product(gate_up, _norm(norms.network, x)).chunk(2, -1)
            x = x + _product(down, F.silu(gate) * up)
        x = _norm(llama.final_norm, F.embedding(laid.wanted, x))
        return F.linear(x, llama.head.weight, llama.head.bias), laid.places

    def _attention(
        self, norms: Norms, heads: Tensor, cos: Tensor, sin: Tensor, calls: Sequence[Call]
    ) -> Tensor:
        """Of the row's queries, keys and values [token, head, channel] to [token, channel]."""
        shared = self._llama.shared_heads
        asking = heads.shape[1] - 2 * shared
        turned, values = torch.split(heads, [asking + shared, shared], 1)
        if norms.query is not None and norms.key is not None:
            q, k = torch.split(turned, [asking, shared], 1)
            turned = torch.cat([_norm(norms.query, q), _norm(norms.key, k)], 1)
        turned = turned * cos + turned.roll(turned.shape[-1] // 2, -1) * sin
        q, k = torch.split(turned, [asking, shared], 1)
        q = q.reshape(len(q), -1)
        kv = torch.cat([k, values], 1).view(len(q), -1)
        return torch.cat([self._attended(q, kv, call) for call in calls])

    def _attended(self, q: Tensor, kv: Tensor, call: Call) -> Tensor:
        """The result [token, channel] for the tokens of one call."""
        llama = self._llama
        pieces, width = call.queries.shape
        asked = F.embedding(call.queries, q[call.first : call.last])
        asked = asked.view(pieces, width, -1, llama.channels).transpose(1, 2)
        told = F.embedding(call.keys, kv).view(pieces, call.keys.shape[1], 2, -1, llama.channels)
        keys, values = told.permute(2, 0, 3, 1, 4)
        exact = asked.dtype == torch.float32  # the fused one is so inside, whatever it is given
        if exact and asked.shape[1] * call.mask.numel() <= _PLAIN:
            mixed = _unfused(asked, keys, values, call.mask, llama.scale)
        else:
            mixed = F.scaled_dot_product_attention(
                asked,
                keys,
                values,
                attn_mask=call.mask.to(asked.dtype),
                scale=llama.scale,
                enable_gqa=asked.shape[1] != keys.shape[1],
            )
        return F.embedding(call.back, mixed.transpose(1, 2).reshape(pieces * width, -1))


def _unfused(asked: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention as plain products: their gradient takes less time than the fused one's where there
    is little to attend to, and more memory.
    """
    pieces, heads, width, channels = asked.shape
    columns, sharing = keys.shape[2], heads // keys.shape[1]
    asked = asked.reshape(-1, sharing * width, channels)
    keys, values = (x.reshape(-1, columns, channels) for x in (keys, values))
    added = mask.expand(-1, heads, -1, -1).reshape(len(asked), -1, columns)
    scores = torch.baddbmm(added, asked, keys.transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), values).view(pieces, heads, width, channels)


def _product(projection: Projection, x: Tensor) -> Tensor:
    if not projection.active:
        return F.linear(x, projection.weight, projection.bias)
    return adapted(x, projection.weight, projection.bias, projection.adapters())


def _norm(norm: Norm, x: Tensor) -> Tensor:
    return normed(x, norm.weight, norm.epsilon)
