"""The Llama family's forward pass written out, for sampling.

A decoding step of a small model is bound by what surrounds its arithmetic: modules, hooks, copies
of keys and values. Here a layer is a dozen tensor operations on the loaded model's own weights,
which stay shared with it: query, key and value are one product, as are gate and up, and each row's
keys and values stand in a slot where they grow in place.

The adapter is merged into a float32 copy of the weights, made anew after each update; what was
loaded is never written to. Other dtypes would round an update away, so there it stays apart.
Logits equal those of the model's own forward pass but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.policies.fused import Llama, Product

_ROOM = 64  # columns added at a time when slots grow


@dataclass(slots=True)
class Slots:
    """What rows have read: keys and values [row, head, column, channel] of each layer, and how
    many columns of each row are its own. Reading on uses it up: slots grow in place.
    """

    layers: list[tuple[Tensor, Tensor]]
    lengths: list[int]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.lengths)

    def _each(self) -> Iterator[Tensor]:
        return (x for pair in self.layers for x in pair)

    def grow(self, columns: int) -> None:
        """Make room for so many columns."""
        have = self.layers[0][0].shape[2]
        if have >= columns:
            return
        used = max(self.lengths, default=0)

        def grown(x: Tensor) -> Tensor:
            rows, heads, _, channels = x.shape
            room = x.new_zeros(rows, heads, columns + _ROOM, channels)
            room[:, :, :used] = x[:, :, :used]
            return room

        self.layers = [(grown(k), grown(v)) for k, v in self.layers]

    def repeat(self, counts: Sequence[int]) -> Slots:
        """Row i, counts[i] times, in slots of their own."""
        rows = [i for i, count in enumerate(counts) for _ in range(count)]
        layers = [(k[rows], v[rows]) for k, v in self.layers]
        return Slots(layers, [self.lengths[i] for i in rows])

    def without(self, rows: Sequence[int]) -> tuple[Slots, list[int]]:
        """Without these rows, and which row stands where now: the last ones fill the gaps."""
        gone, left = set(rows), self.rows - len(rows)
        holes = sorted(i for i in gone if i < left)
        movers = [i for i in range(left, self.rows) if i not in gone]
        order = list(range(left))
        for hole, mover in zip(holes, movers, strict=True):
            order[hole] = mover
        if holes:
            used = max(self.lengths)
            for x in self._each():
                x[holes, :, :used] = x[movers, :, :used]
        layers = [(k[:left], v[:left]) for k, v in self.layers]
        return Slots(layers, [self.lengths[i] for i in order]), order

    @staticmethod
    def stack(states: Sequence[Slots]) -> Slots:
        """One below the other, in slots of their own."""
        rows, used = sum(s.rows for s in states), max(max(s.lengths) for s in states)

        def stacked(parts: Sequence[Tensor]) -> Tensor:
            _, heads, _, channels = parts[0].shape
            room, at = parts[0].new_zeros(rows, heads, used + _ROOM, channels), 0
            for part in parts:
                columns = min(used, part.shape[2])
                room[at : at + len(part), :, :columns] = part[:, :, :columns]
                at += len(part)
            return room

        layers = [
            (stacked([k for k, _ in pairs]), stacked([v for _, v in pairs]))
            for pairs in zip(*(s.layers for s in states), strict=True)
        ]
        return Slots(layers, [n for s in states for n in s.lengths])


@dataclass(slots=True)
class _Pass:
    """What all layers of one pass share: where its tokens stand [row, token], their rotation
    [row, token, 1, channel], and what they may attend to [row, 1, token, column] (None: causal).
    """

    rows: Tensor
    positions: Tensor
    cos: Tensor
    sin: Tensor
    mask: Tensor | None
    columns: int


class LeanReader:
    """Reads tokens for a sampler: see `Reader`. With or without the adapter."""

    gaps = True

    def __init__(self, llama: Llama, adapted: bool) -> None:
        self._llama = llama
        self._adapted = adapted
        self._merged: list[list[Tensor]] | None = None
        self._products: list[list[Product]] | None = None
        self._rotations: tuple[Tensor, Tensor] | None = None

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
        fresh = state is None
        if state is None:
            shape = (len(pieces), llama.shared_heads, width + _ROOM, llama.channels)
            layers = [[self._zeros(shape) for _ in range(2)] for _ in llama.blocks]
            state = Slots([(k, v) for k, v in layers], [0] * len(pieces))
        state.grow(max(state.lengths) + width)
        ids = torch.tensor([[*p, *[0] * (width - len(p))] for p in pieces], device=llama.device)
        one = self._lay_out(state, width, fresh)
        x = F.embedding(ids, llama.embedding)
        products = self._ready()
        for block, parts, (keys, values) in zip(llama.blocks, products, state.layers, strict=True):
            x = self._layer(block, parts, x, keys, values, one)
        if width > 1:
            ends = torch.tensor([[len(p) - 1] for p in pieces], device=llama.device)
            x = x[one.rows, ends]
        head = llama.head
        logits = F.linear(self._norm(llama.final_norm, x[:, 0]), head.weight, head.bias)
        lengths = [n + len(p) for n, p in zip(state.lengths, pieces, strict=True)]
        return logits, Slots(state.layers, lengths)

    def _zeros(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, dtype=self._llama.dtype, device=self._llama.device)

    def _lay_out(self, state: Slots, width: int, fresh: bool) -> _Pass:
        device = self._llama.device
        starts = torch.tensor(state.lengths, device=device)[:, None]
        positions = starts + torch.arange(width, device=device)
        columns = max(state.lengths) + width
        mask = None
        if not (fresh and width > 1):
            seen = torch.arange(columns, device=device) <= positions[:, :, None]
            blank = torch.zeros(seen.shape, dtype=self._llama.dtype, device=device)
            mask = blank.masked_fill_(~seen, float("-inf"))[:, None]
        cos, sin = (table[positions][:, :, None] for table in self._rotation(columns))
        rows = torch.arange(state.rows, device=device)[:, None]
        return _Pass(rows, positions, cos, sin, mask, columns)

    def _rotation(self, columns: int) -> tuple[Tensor, Tensor]:
        """Cosine and signed sine [position, channel], for `columns` positions at least."""
        if self._rotations is None or len(self._rotations[0]) < columns:
            llama = self._llama
            positions = torch.arange(2 * columns, device=llama.device)[None]
            cos, sin = llama.rotary(llama.embedding[:1], positions)
            half = llama.channels // 2
            self._rotations = cos[0], torch.cat([-sin[0][:, :half], sin[0][:, half:]], -1)
        return self._rotations

    def _layer(
        self,
        block: Any,
        parts: Sequence[Product],
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        one: _Pass,
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
        keys[one.rows, :, one.positions] = k
        values[one.rows, :, one.positions] = v
        mixed = self._attend(q, keys[:, :, : one.columns], values[:, :, : one.columns], one)
        x = x + out(mixed)
        gate, up = gate_up(self._norm(block.post_attention_layernorm, x)).chunk(2, -1)
        return x + down(F.silu(gate) * up)

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, one: _Pass) -> Tensor:
        """Queries [row, token, head, channel] over keys and values [row, shared head, …].

        A decoding step gives the heads of a group to the kernel as if they were tokens, so that
        the keys they share are read once.
        """
        rows, width, heads, channels = q.shape
        shared, scale = keys.shape[1], self._llama.scale
        if width == 1:
            grouped = q.view(rows, shared, heads // shared, channels)
            mixed = F.scaled_dot_product_attention(
                grouped, keys, values, attn_mask=one.mask, scale=scale
            )
            return mixed.reshape(rows, 1, -1)
        mixed = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            keys,
            values,
            attn_mask=one.mask,
            is_causal=one.mask is None,
            scale=scale,
            enable_gqa=heads != shared,
        )
        return mixed.transpose(1, 2).reshape(rows, width, -1)

    @staticmethod
    def _norm(norm: Any, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:
            return F.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
        scaled: Tensor = norm.weight * wide.to(x.dtype)
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
