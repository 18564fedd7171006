"""The Llama family's forward pass written out, for sampling.

A decoding step of a small model is bound by what surrounds its arithmetic: modules, hooks, copies
of keys and values. Here a layer is some twenty tensor operations on the loaded model's own weights,
which stay shared with it: query, key and value are one product, as are gate and up. All replies to
a prompt attend to one copy of it; each reply's own keys and values grow in place.

The adapter is merged into a float32 copy of the weights, made anew after each update; what was
loaded is never written to. Other dtypes would round an update away, so there it stays apart.
Logits equal those of the model's own forward pass but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.policies.fused import Llama, Product
from harness.policies.slots import Columns, Slots, blind


@dataclass(slots=True)
class _Pass:
    """What all layers of one pass share.

    Its tokens' rotation [row, token, 1, channel], and what is added to scores: over the `columns`
    of prompts [row, 1, token, column] (None: causal), or over replies' own [row × shared head, 1,
    column]. Prompts also need where their tokens go: `rows` [row, 1] and `places` [row, token].
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor | None
    columns: int = 0
    rows: Tensor | None = None
    places: Tensor | None = None


class LeanReader:
    """Reads tokens for a sampler: see `Reader`. With or without the adapter."""

    gaps = True

    def __init__(self, llama: Llama, adapted: bool) -> None:
        self._llama = llama
        self._adapted = adapted
        self._merged: list[list[Tensor]] | None = None
        self._products: list[list[Product]] | None = None

    def forget(self) -> None:
        """The adapter has changed: merge it anew before the next pass."""
        if self._adapted:
            self._products = None

    def stack(self, states: Sequence[Slots]) -> Slots:
        """See `Slots.stack`."""
        return Slots.stack(states)

    def without(self, state: Slots, rows: Sequence[int]) -> tuple[Slots, list[int]]:
        """See `Slots.without`."""
        return state.without(rows)

    def read(
        self, pieces: Sequence[Sequence[int]], state: Slots | None = None
    ) -> tuple[Tensor, Slots]:
        """Read one piece more per row: logits [row, vocabulary] after its last token, and state.

        Shorter pieces are padded on the right: padding stands in columns that no later token
        attends to before it has overwritten them.
        """
        llama = self._llama
        width = max(len(piece) for piece in pieces)
        if state is None:
            like = llama.embedding.new_zeros(0, llama.shared_heads, 0, llama.channels)
            state = Slots(Columns.empty([like] * len(llama.blocks), len(pieces)))
        one = self._reading_on(state.shared, width) if state.own is None else self._replying(state)
        ids = torch.tensor([[*p, *[0] * (width - len(p))] for p in pieces], device=llama.device)
        x = F.embedding(ids, llama.embedding)
        for i, (block, parts) in enumerate(zip(llama.blocks, self._ready(), strict=True)):
            x = self._layer(block, parts, x, state, i, one)
        if width > 1:
            ends = torch.tensor([[len(p) - 1] for p in pieces], device=llama.device)
            x = x[one.rows, ends]
        head = llama.head
        logits = F.linear(self._norm(llama.final_norm, x[:, 0]), head.weight, head.bias)
        if state.own is not None:
            state.own.written()
        else:
            lengths = zip(state.shared.lengths, pieces, strict=True)
            state.shared.lengths = [n + len(p) for n, p in lengths]
        return logits, state

    def _reading_on(self, table: Columns, width: int) -> _Pass:
        """Of prompts, `width` tokens more."""
        device, columns = self._llama.device, max(table.lengths) + width
        table.grow(columns)
        places = torch.tensor(table.lengths, device=device)[:, None]
        places = places + torch.arange(width, device=device)
        rows = torch.arange(len(places), device=device)[:, None]
        causal = width > 1 and not any(table.lengths)
        mask = None
        if not causal:
            seen = torch.arange(columns, device=device) <= places[:, :, None]
            mask = blind(seen, self._llama.dtype)[:, None]
        cos, sin = self._llama.rotation(places, columns)
        return _Pass(cos, sin, mask, columns, rows, places)

    def _replying(self, state: Slots) -> _Pass:
        """Of replies, one token more."""
        assert state.own is not None
        positions = torch.tensor(state.positions, device=self._llama.device)
        limit = max(state.shared.lengths) + state.own.used + 1
        return _Pass(*self._llama.rotation(positions, limit), state.own.open())

    def _layer(
        self, block: Any, parts: Sequence[Product], x: Tensor, state: Slots, index: int, one: _Pass
    ) -> Tensor:
        """One layer on x [row, token, channel]; writes the tokens' keys and values."""
        qkv, out, gate_up, down = parts
        llama, (rows, width, _) = self._llama, x.shape
        shared = llama.shared_heads
        heads = qkv(self._norm(block.input_layernorm, x)).view(rows, width, -1, llama.channels)
        q, k, v = torch.split(heads, [heads.shape[2] - 2 * shared, shared, shared], 2)
        if hasattr(block.self_attn, "q_norm"):
            q, k = self._norm(block.self_attn.q_norm, q), self._norm(block.self_attn.k_norm, k)
            q, k = self._rotate(q, one), self._rotate(k, one)
        else:
            rotated = self._rotate(heads[:, :, :-shared], one)
            q, k = torch.split(rotated, [q.shape[2], shared], 2)
        if state.own is None:
            keys, values = state.shared.layers[index]
            keys[one.rows, :, one.places] = k
            values[one.rows, :, one.places] = v
            mixed = self._read_on(q, keys[:, :, : one.columns], values[:, :, : one.columns], one)
        else:
            keys, values = state.own.layers[index]
            keys[:, :, state.own.used], values[:, :, state.own.used] = k[:, 0], v[:, 0]
            mixed = self._reply(q, keys, values, state, index, one)
        x = x + out(mixed)
        gate, up = gate_up(self._norm(block.post_attention_layernorm, x)).chunk(2, -1)
        return x + down(F.silu(gate) * up)

    def _read_on(self, q: Tensor, keys: Tensor, values: Tensor, one: _Pass) -> Tensor:
        """Attention of prompts' tokens [row, token, head, channel]."""
        mixed = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            keys,
            values,
            attn_mask=one.mask,
            is_causal=one.mask is None,
            scale=self._llama.scale,
            enable_gqa=q.shape[2] != keys.shape[1],
        )
        return mixed.transpose(1, 2).flatten(2)

    def _reply(
        self, q: Tensor, keys: Tensor, values: Tensor, state: Slots, index: int, one: _Pass
    ) -> Tensor:
        """Attention of one token a reply [row, 1, head, channel], to its prompt and to itself.

        All replies to a prompt are one product with its keys, and one with its values; the heads
        that share keys are rows of both products.
        """
        seating, scale = state.seating(), self._llama.scale
        assert one.mask is not None
        prompts, shared = len(seating.table), keys.shape[1]
        q = q.view(len(q), shared, -1, q.shape[-1])  # [row, shared head, head, channel]

        def gathered(x: Tensor) -> Tensor:
            """[row, shared head, head, …] to [prompt × shared head, place × head, …]."""
            each = x if seating.regular else x.index_select(0, seating.table.flatten())
            each = each.view(prompts, -1, *x.shape[1:]).transpose(1, 2)
            return each.reshape(prompts * shared, -1, x.shape[-1])

        def scattered(x: Tensor) -> Tensor:
            """And back."""
            x = x.view(prompts, shared, -1, q.shape[2], x.shape[-1]).transpose(1, 2).flatten(0, 1)
            return x if seating.regular else x.index_select(0, seating.where)

        old_keys, old_values = (x.flatten(0, 1) for x in state.shared.layers[index])
        length = old_keys.shape[1]
        new_keys, new_values = keys.flatten(0, 1).transpose(1, 2), values.flatten(0, 1)
        old = torch.baddbmm(seating.mask, gathered(q), old_keys.transpose(1, 2), alpha=scale)
        new = torch.baddbmm(one.mask, q.flatten(0, 1), new_keys, alpha=scale)
        weights = torch.cat([scattered(old), new.view(*q.shape[:3], -1)], -1).softmax(-1)
        mixed = scattered(torch.bmm(gathered(weights[..., :length]), old_values)).flatten(0, 1)
        new = weights[..., length:].flatten(0, 1)
        return torch.baddbmm(mixed, new, new_values).view(len(q), 1, -1)

    @staticmethod
    def _norm(norm: Any, x: Tensor) -> Tensor:
        wide = x.float()
        square = torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(norm.variance_epsilon)
        scaled: Tensor = norm.weight * (wide * square.rsqrt_()[..., None]).to(x.dtype)
        return scaled

    @staticmethod
    def _rotate(x: Tensor, one: _Pass) -> Tensor:
        return x * one.cos + x.roll(x.shape[-1] // 2, -1) * one.sin

    def _ready(self) -> list[list[Product]]:
        """The products of each layer, with the adapter as it is now."""
        if self._products is None:
            self._products = self._prepare()
        return self._products

    def _prepare(self) -> list[list[Product]]:
        layers = self._llama.projections
        if not (self._adapted and layers[0][0].adapted):
            return [[Product(p.weight, p.bias) for p in parts] for parts in layers]
        if self._llama.dtype != torch.float32:
            return [[Product.beside(p) for p in parts] for parts in layers]
        if self._merged is None:
            self._merged = [[torch.empty_like(p.weight) for p in parts] for parts in layers]
        with torch.no_grad():
            for parts, merged in zip(layers, self._merged, strict=True):
                for projection, into in zip(parts, merged, strict=True):
                    projection.merge(into)
        return [
            [Product(m, p.bias) for p, m in zip(parts, merged, strict=True)]
            for parts, merged in zip(layers, self._merged, strict=True)
        ]
