"""The Llama family's forward pass written out, for sampling.

A decoding step of a small model is bound by what surrounds its arithmetic: modules, hooks, copies
of keys and values. Here a layer is some twenty tensor operations on the loaded model's own weights,
which stay shared with it: query, key and value are one product, as are gate and up. All replies to
a prompt attend to one copy of it, all prompts with the same long beginning to one copy of that;
each reply's own keys and values grow in place.

The adapter is merged into a float32 copy of the weights, made anew after each update; what was
loaded is never written to. Other dtypes would round an update away, so there it stays apart.
Logits equal those of the model's own forward pass but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.policies.hf.fast_llama.fused_weights import FusedLlama, Product
from harness.policies.hf.fast_llama.kv_cache import PromptKVCache, blind
from harness.policies.hf.fast_llama.prefix_cache import KVState


@dataclass(slots=True)
class _Pass:
    """What all layers of one pass share.

    Its tokens' rotation [row, token, 1, channel], and what is added to scores: over prompts [row,
    1, token, column] (None: causal), or over replies' own [row × shared head, 1, column]. Prompts
    also need the `columns` of their table, where their tokens go in it, `rows` [row, 1] and
    `places` [row, token], and which head [row] they follow, whose columns come first.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor | None
    columns: int = 0
    rows: Tensor | None = None
    places: Tensor | None = None
    heads: Tensor | None = None


class FastDecoder:
    """Reads tokens for a sampler: see `Reader`. With or without the adapter."""

    gaps = True

    def __init__(self, llama: FusedLlama, adapted: bool) -> None:
        self._llama = llama
        self._adapted = adapted
        self._merged: list[list[Tensor]] | None = None
        self._products: list[list[Product]] | None = None

    def forget(self) -> None:
        """The adapter has changed: merge it anew before the next pass."""
        if self._adapted:
            self._products = None

    def follow(self, states: Sequence[KVState]) -> KVState:
        """See `Slots.follow`."""
        return KVState.follow(states)

    def stack(self, states: Sequence[KVState]) -> KVState:
        """See `Slots.stack`."""
        return KVState.stack(states)

    def without(self, state: KVState, rows: Sequence[int]) -> tuple[KVState, list[int]]:
        """See `Slots.without`."""
        return state.without(rows)

    def read(
        self, pieces: Sequence[Sequence[int]], state: KVState | None = None
    ) -> tuple[Tensor, KVState]:
        """Read one piece more per row: logits [row, vocabulary] after its last token, and state.

        Shorter pieces are padded on the right: padding stands in columns that no later token
        attends to before it has overwritten them.
        """
        llama = self._llama
        width = max(len(piece) for piece in pieces)
        if state is None:
            like = llama.embedding.new_zeros(0, llama.shared_heads, 0, llama.channels)
            state = KVState(PromptKVCache.empty([like] * len(llama.blocks), len(pieces)))
        one = self._reading_on(state, width) if state.own is None else self._replying(state)
        ids = torch.tensor([[*p, *[0] * (width - len(p))] for p in pieces], device=llama.device)
        x = F.embedding(ids, llama.embedding)
        for i, parts in enumerate(self._ready()):
            x = self._layer(parts, x, state, i, one)
        if width > 1:
            ends = torch.tensor([[len(p) - 1] for p in pieces], device=llama.device)
            x = x[one.rows, ends]
        head = llama.head
        logits = F.linear(llama.final_norm(x[:, 0]), head.weight, head.bias)
        if state.own is not None:
            state.own.written()
        else:
            lengths = zip(state.shared.lengths, pieces, strict=True)
            state.shared.lengths = [n + len(p) for n, p in lengths]
        return logits, state

    def _reading_on(self, state: KVState, width: int) -> _Pass:
        """Of prompts, `width` tokens more."""
        device, table, heads = self._llama.device, state.shared, state.heads
        columns = max(table.lengths) + width
        table.grow(columns)
        starts = torch.tensor(state.starts, device=device)[:, None]
        places = torch.tensor(table.lengths, device=device)[:, None]
        places = places + torch.arange(width, device=device)
        rows = torch.arange(len(places), device=device)[:, None]
        cos, sin = self._llama.rotation(starts + places, max(state.starts) + columns)
        one = _Pass(cos, sin, None, columns, rows, places)
        if width == 1 or any(table.lengths) or heads is not None:
            seen = torch.arange(columns, device=device) <= places[:, :, None]
            if heads is not None:
                one.heads = torch.tensor(heads.of, device=device)
                before = torch.arange(heads.table.layers[0][0].shape[2], device=device)
                before = (before < starts)[:, None].expand(-1, width, -1)
                seen = torch.cat([before, seen], -1)
            one.mask = blind(seen, self._llama.dtype)[:, None]
        return one

    def _replying(self, state: KVState) -> _Pass:
        """Of replies, one token more."""
        assert state.own is not None
        positions = state.positions
        places = torch.tensor(positions, device=self._llama.device)
        limit = max(map(max, positions)) + 1
        return _Pass(*self._llama.rotation(places, limit), state.own.open())

    def _layer(
        self, parts: Sequence[Product], x: Tensor, state: KVState, index: int, one: _Pass
    ) -> Tensor:
        """One layer on x [row, token, channel]; writes the tokens' keys and values."""
        qkv, out, gate_up, down = parts
        llama, (rows, width, _) = self._llama, x.shape
        shared, norms = llama.shared_heads, llama.norms[index]
        heads = qkv(norms.attention(x)).view(rows, width, -1, llama.channels)
        q, k, v = torch.split(heads, [heads.shape[2] - 2 * shared, shared, shared], 2)
        if norms.query is not None and norms.key is not None:
            q, k = self._rotate(norms.query(q), one), self._rotate(norms.key(k), one)
        else:
            rotated = self._rotate(heads[:, :, :-shared], one)
            q, k = torch.split(rotated, [q.shape[2], shared], 2)
        if state.own is None:
            keys, values = state.shared.layers[index]
            keys[one.rows, :, one.places] = k
            values[one.rows, :, one.places] = v
            mixed = self._read_on(q, self._read(state, index, one), one)
        else:
            keys, values = state.own.layers[index]
            keys[:, :, state.own.used], values[:, :, state.own.used] = k[:, 0], v[:, 0]
            mixed = self._reply(q, keys, values, state, index, one)
        x = x + out(mixed)
        gate, up = gate_up(norms.network(x)).chunk(2, -1)
        return x + down(F.silu(gate) * up)

    def _read(self, state: KVState, index: int, one: _Pass) -> tuple[Tensor, Tensor]:
        """Keys and values [row, head, column, channel] of prompts, with those of their heads."""
        keys, values = (x[:, :, : one.columns] for x in state.shared.layers[index])
        if state.heads is None or one.heads is None:
            return keys, values
        old_keys, old_values = (x[one.heads] for x in state.heads.table.layers[index])
        return torch.cat([old_keys, keys], 2), torch.cat([old_values, values], 2)

    def _read_on(self, q: Tensor, read: tuple[Tensor, Tensor], one: _Pass) -> Tensor:
        """Attention of prompts' tokens [row, token, head, channel]."""
        keys, values = read
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
        self, q: Tensor, keys: Tensor, values: Tensor, state: KVState, index: int, one: _Pass
    ) -> Tensor:
        """Attention of one token a reply [row, 1, head, channel], to its prompt and to itself.

        All replies to a prompt are one product with its keys, and one with its values, as are all
        that begin with the same head; the heads that share keys are rows of these products.
        """
        scale, mask = self._llama.scale, one.mask
        assert mask is not None
        q = q.view(len(q), keys.shape[1], -1, q.shape[-1])  # [row, shared head, head, channel]
        scores: list[Tensor] = []
        for table, seating in state.levels():
            old = table.layers[index][0].flatten(0, 1).transpose(1, 2)
            found = torch.baddbmm(seating.mask, seating.gathered(q), old, alpha=scale)
            scores.append(seating.scattered(found, q))
        new_keys, new_values = keys.flatten(0, 1).transpose(1, 2), values.flatten(0, 1)
        new = torch.baddbmm(mask, q.flatten(0, 1), new_keys, alpha=scale)
        scores.append(new.view(*q.shape[:3], -1))
        weights = torch.cat(scores, -1).softmax(-1)
        *parts, new = torch.split(weights, [x.shape[-1] for x in scores], -1)
        mixed = None
        for (table, seating), part in zip(state.levels(), parts, strict=True):
            found = torch.bmm(seating.gathered(part), table.layers[index][1].flatten(0, 1))
            found = seating.scattered(found, q)
            mixed = found if mixed is None else mixed.add_(found)
        assert mixed is not None
        mixed = torch.baddbmm(mixed.flatten(0, 1), new.flatten(0, 1), new_values)
        return mixed.view(len(q), 1, -1)

    @staticmethod
    def _rotate(x: Tensor, one: _Pass) -> Tensor:
        return (x * one.cos).addcmul_(x.roll(x.shape[-1] // 2, -1), one.sin)

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
