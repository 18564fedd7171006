"""Hand-written forward pass of the Llama family, for sampling.

A decoding step of a small model spends most of its time around the arithmetic: modules, hooks,
copies of keys and values. Here a layer is about twenty tensor operations on the loaded model's
weights: query, key and value are one product, as are gate and up. All completions of a prompt
attend to one copy of its keys and values, all prompts with the same long prefix to one copy of
the prefix; each completion's own keys and values grow in place.

The adapter is merged into a float32 copy of the weights after each update; the loaded weights are
never written to. In other dtypes merging would round an update away, so the adapter is applied
beside the weights. Logits equal those of transformers' forward pass up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.policies.hf.fast_llama.fused_weights import FusedLlama, Product
from harness.policies.hf.fast_llama.kv_cache import PromptKVCache, attention_bias
from harness.policies.hf.fast_llama.prefix_cache import KVState


@dataclass(slots=True)
class _StepInputs:
    """Inputs that all layers of one forward pass share.

    `cos` and `sin` [row, token, 1, channel] rotate the tokens. `mask` is the attention bias: over
    prompts [row, 1, token, column] (None: causal), or over completions' own tokens
    [row × KV head, 1, column]. A prefill also needs the `columns` of the cache, the cells that its
    tokens are written to (`rows` [row, 1], `columns_of` [row, token]), and the prefix of each row
    (`prefix_of` [row]), whose columns come first.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor | None
    columns: int = 0
    rows: Tensor | None = None
    columns_of: Tensor | None = None
    prefix_of: Tensor | None = None


class FastDecoder:
    """A `Decoder` for supported models, with the adapter or without."""

    allows_gaps = True

    def __init__(self, llama: FusedLlama, adapted: bool) -> None:
        self._llama = llama
        self._adapted = adapted
        self._merged: list[list[Tensor]] | None = None
        self._products: list[list[Product]] | None = None

    def invalidate(self) -> None:
        """Merge the adapter again before the next pass."""
        if self._adapted:
            self._products = None

    def from_prefixes(self, states: Sequence[KVState]) -> KVState:
        """See `KVState.from_prefixes`."""
        return KVState.from_prefixes(states)

    def stack(self, states: Sequence[KVState]) -> KVState:
        """See `KVState.stack`."""
        return KVState.stack(states)

    def remove_rows(self, state: KVState, rows: Sequence[int]) -> tuple[KVState, list[int]]:
        """See `KVState.remove_rows`."""
        return state.remove_rows(rows)

    def forward(
        self, pieces: Sequence[Sequence[int]], state: KVState | None = None
    ) -> tuple[Tensor, KVState]:
        """Process one more piece of ids per row.

        Returns logits [row, vocabulary] after each row's last token, and the state. Shorter pieces
        are padded on the right: padding is written to columns that are overwritten before any later
        token can attend to them.
        """
        llama = self._llama
        width = max(len(piece) for piece in pieces)
        if state is None:
            like = llama.embedding.new_zeros(0, llama.kv_heads, 0, llama.channels)
            state = KVState(PromptKVCache.empty([like] * len(llama.blocks), len(pieces)))
        step = (
            self._prefill_inputs(state, width)
            if state.completions is None
            else self._decode_inputs(state)
        )
        ids = torch.tensor([[*p, *[0] * (width - len(p))] for p in pieces], device=llama.device)
        x = F.embedding(ids, llama.embedding)
        for i, parts in enumerate(self._current_products()):
            x = self._layer(parts, x, state, i, step)
        # Padding stands on the right, so a row's last token need not be in the last column.
        if width > 1:
            ends = torch.tensor([[len(p) - 1] for p in pieces], device=llama.device)
            x = x[step.rows, ends]
        head = llama.head
        logits = F.linear(llama.final_norm(x[:, 0]), head.weight, head.bias)
        if state.completions is not None:
            state.completions.column_written()
        else:
            lengths = zip(state.prompts.lengths, pieces, strict=True)
            state.prompts.lengths = [n + len(p) for n, p in lengths]
        return logits, state

    def _prefill_inputs(self, state: KVState, width: int) -> _StepInputs:
        """Inputs for `width` more tokens of each prompt."""
        device, table, heads = self._llama.device, state.prompts, state.prefixes
        columns = max(table.lengths) + width
        table.grow(columns)
        starts = torch.tensor(state.prefix_lengths, device=device)[:, None]
        columns_of = torch.tensor(table.lengths, device=device)[:, None]
        columns_of = columns_of + torch.arange(width, device=device)
        rows = torch.arange(len(columns_of), device=device)[:, None]
        # Positions count the shared prefix, which a prompt's own columns do not hold.
        cos, sin = self._llama.rotation(starts + columns_of, max(state.prefix_lengths) + columns)
        step = _StepInputs(cos, sin, None, columns, rows, columns_of)
        # The first piece of prompts without prefixes is plainly causal, for which the kernel needs
        # no mask: padding stands on the right, where no token looks.
        if width == 1 or any(table.lengths) or heads is not None:
            visible = torch.arange(columns, device=device) <= columns_of[:, :, None]
            if heads is not None:
                step.prefix_of = torch.tensor(heads.of, device=device)
                before = torch.arange(heads.table.layers[0][0].shape[2], device=device)
                before = (before < starts)[:, None].expand(-1, width, -1)
                visible = torch.cat([before, visible], -1)
            step.mask = attention_bias(visible, self._llama.dtype)[:, None]
        return step

    def _decode_inputs(self, state: KVState) -> _StepInputs:
        """Inputs for one more token of each completion."""
        assert state.completions is not None
        positions = state.positions
        columns_of = torch.tensor(positions, device=self._llama.device)
        limit = max(map(max, positions)) + 1
        return _StepInputs(
            *self._llama.rotation(columns_of, limit), state.completions.open_column()
        )

    def _layer(
        self, parts: Sequence[Product], x: Tensor, state: KVState, index: int, step: _StepInputs
    ) -> Tensor:
        """Apply one layer to x [row, token, channel] and write the tokens' keys and values."""
        qkv, out, gate_up, down = parts
        llama, (rows, width, _) = self._llama, x.shape
        shared, norms = llama.kv_heads, llama.norms[index]
        heads = qkv(norms.attention(x)).view(rows, width, -1, llama.channels)
        q, k, v = torch.split(heads, [heads.shape[2] - 2 * shared, shared, shared], 2)
        # Qwen3 has a norm for each; without them queries and keys rotate in one operation.
        if norms.query is not None and norms.key is not None:
            q, k = self._rotate(norms.query(q), step), self._rotate(norms.key(k), step)
        else:
            rotated = self._rotate(heads[:, :, :-shared], step)
            q, k = torch.split(rotated, [q.shape[2], shared], 2)
        if state.completions is None:
            keys, values = state.prompts.layers[index]
            keys[step.rows, :, step.columns_of] = k
            values[step.rows, :, step.columns_of] = v
            mixed = self._prefill_attention(q, self._prefill_kv(state, index, step), step)
        else:
            keys, values = state.completions.layers[index]
            keys[:, :, state.completions.used], values[:, :, state.completions.used] = (
                k[:, 0],
                v[:, 0],
            )
            mixed = self._decode_attention(q, keys, values, state, index, step)
        x = x + out(mixed)
        gate, up = gate_up(norms.network(x)).chunk(2, -1)
        return x + down(F.silu(gate) * up)

    def _prefill_kv(self, state: KVState, index: int, step: _StepInputs) -> tuple[Tensor, Tensor]:
        """Keys and values [row, head, column, channel] of prompts, with their prefixes."""
        keys, values = (x[:, :, : step.columns] for x in state.prompts.layers[index])
        if state.prefixes is None or step.prefix_of is None:
            return keys, values
        prefix_keys, prefix_values = (x[step.prefix_of] for x in state.prefixes.table.layers[index])
        return torch.cat([prefix_keys, keys], 2), torch.cat([prefix_values, values], 2)

    def _prefill_attention(
        self, q: Tensor, read: tuple[Tensor, Tensor], step: _StepInputs
    ) -> Tensor:
        """Attention of the prompts' tokens q [row, token, head, channel]."""
        keys, values = read
        mixed = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            keys,
            values,
            attn_mask=step.mask,
            is_causal=step.mask is None,
            scale=self._llama.scale,
            enable_gqa=q.shape[2] != keys.shape[1],
        )
        return mixed.transpose(1, 2).flatten(2)

    def _decode_attention(
        self, q: Tensor, keys: Tensor, values: Tensor, state: KVState, index: int, step: _StepInputs
    ) -> Tensor:
        """Attention of one token a completion: q [row, 1, head, channel].

        A token attends to its prefix, its prompt and its own completion.

        All completions of a prompt are one product with its keys and one with its values, as are
        all that share a prefix. The query heads of one KV head are rows of these products. One
        softmax runs over the concatenated scores.
        """
        scale, mask = self._llama.scale, step.mask
        assert mask is not None
        q = q.view(len(q), keys.shape[1], -1, q.shape[-1])  # [row, KV head, head, channel]
        scores: list[Tensor] = []
        for table, index_of in state.levels():
            old = table.layers[index][0].flatten(0, 1).transpose(1, 2)
            found = torch.baddbmm(index_of.mask, index_of.gather(q), old, alpha=scale)
            scores.append(index_of.scatter(found, q))
        new_keys, new_values = keys.flatten(0, 1).transpose(1, 2), values.flatten(0, 1)
        new = torch.baddbmm(mask, q.flatten(0, 1), new_keys, alpha=scale)
        scores.append(new.view(*q.shape[:3], -1))
        weights = torch.cat(scores, -1).softmax(-1)
        *parts, new = torch.split(weights, [x.shape[-1] for x in scores], -1)
        mixed = None
        for (table, index_of), part in zip(state.levels(), parts, strict=True):
            found = torch.bmm(index_of.gather(part), table.layers[index][1].flatten(0, 1))
            found = index_of.scatter(found, q)
            mixed = found if mixed is None else mixed.add_(found)
        assert mixed is not None
        mixed = torch.baddbmm(mixed.flatten(0, 1), new.flatten(0, 1), new_values)
        return mixed.view(len(q), 1, -1)

    @staticmethod
    def _rotate(x: Tensor, step: _StepInputs) -> Tensor:
        return (x * step.cos).addcmul_(x.roll(x.shape[-1] // 2, -1), step.sin)

    def _current_products(self) -> list[list[Product]]:
        """The products of each layer, with the current adapter."""
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
