"""KV caches of the fast decoder: one for prompts of different lengths, one for decoding.

A cache that is copied into a larger one is freed layer by layer, so that the two never stand side
by side: the peak is the larger one and one layer of the smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.policies.hf.allocator import return_freed

_MAX_REUSE = 16  # times the memory needed; larger storage is not reused
_RETURNED = 2**26  # bytes freed by copying, after which they are returned to the kernel
_STEP = 16  # columns; MKL's batched products are fastest where a table has a multiple of these


def _capacity(columns: int) -> int:
    """Columns to allocate for so many written ones.

    Attention multiplies with the whole cache: a product with a slice of it takes up to four times
    as long.
    """
    # Long caches grow by about an eighth of themselves, so that they are seldom copied.
    step = _STEP * max(1, columns // (8 * _STEP))
    return -(-columns // step) * step


def _allocate(like: Tensor, rows: int, columns: int, spare: Tensor | None = None) -> Tensor:
    """An uninitialised cache tensor [row, head, column, channel] with the heads of `like`.

    Reuses the storage of `spare`, whose numbers are lost, if it is large enough. More is reserved
    than is used at first, so that a growing cache finds storage that the layer before it has freed:
    fresh memory costs as much as several decoding steps.
    """
    _, heads, _, channels = like.shape
    reserved = -(-columns // (4 * _STEP)) * 4 * _STEP
    needed = rows * heads * columns * channels * like.itemsize
    # After rows have ended, a cache may own far more storage than is needed now.
    if spare is None or not needed <= spare.untyped_storage().nbytes() <= _MAX_REUSE * needed:
        spare = like.new_empty(rows * heads * reserved * channels)
    strides = (heads * columns * channels, columns * channels, channels, 1)
    return spare.as_strided((rows, heads, columns, channels), strides, 0)


@dataclass(slots=True)
class PromptKVCache:
    """Keys and values [row, head, column, channel] of each layer, left-aligned.

    Row i holds lengths[i] tokens; columns beyond them hold finite numbers that are masked out.
    """

    layers: list[tuple[Tensor, Tensor]]
    lengths: list[int]

    @staticmethod
    def empty(like: Sequence[Tensor], rows: int) -> PromptKVCache:
        """An empty cache; `like` has a tensor [·, head, ·, channel] for each layer."""
        zeros = [x.new_zeros(2, rows, x.shape[1], 0, x.shape[3]) for x in like]
        return PromptKVCache([(both[0], both[1]) for both in zeros], [0] * rows)

    def empty_like(self, rows: int) -> PromptKVCache:
        """An empty cache for the same layers and heads."""
        return PromptKVCache.empty([keys for keys, _ in self.layers], rows)

    def grow(self, columns: int) -> None:
        """Allocate at least so many columns."""
        if self.layers[0][0].shape[2] >= columns:
            return
        self.layers = _grown(self.layers, max(self.lengths), _capacity(columns))

    def take(self, rows: list[int], consume: bool = False) -> PromptKVCache:
        """Copy these rows into a new cache; with `consume` this one is freed meanwhile."""
        layers = _copied([self.layers], lambda parts: parts[0][rows], consume)
        return PromptKVCache(layers, [self.lengths[i] for i in rows])

    @staticmethod
    def stack(tables: Sequence[PromptKVCache], consume: bool = False) -> PromptKVCache:
        """Concatenate along rows, into a new cache; with `consume` the others are freed."""
        rows = sum(len(t.lengths) for t in tables)
        used = max(max(t.lengths) for t in tables)

        def stacked(parts: Sequence[Tensor]) -> Tensor:
            _, heads, _, channels = parts[0].shape
            # Zeros, because masked columns are multiplied all the same, and 0 · NaN is NaN.
            storage, at = parts[0].new_zeros(rows, heads, _capacity(used), channels), 0
            for part in parts:
                columns = min(used, part.shape[2])
                storage[at : at + len(part), :, :columns] = part[:, :, :columns]
                at += len(part)
            return storage

        layers = _copied([t.layers for t in tables], stacked, consume)
        return PromptKVCache(layers, [n for t in tables for n in t.lengths])


@dataclass(slots=True)
class DecodeKVCache:
    """Keys and values [row, head, column, channel] of each layer, right-aligned at column `used`.

    Row i's tokens are the last lengths[i] of the first `used` columns, so that a decoding step
    writes one column for all rows. Other columns hold finite numbers that are masked out.
    """

    layers: list[tuple[Tensor, Tensor]]
    lengths: list[int]
    used: int = 0
    _mask: Tensor | None = None

    @staticmethod
    def empty(like: Sequence[Tensor], rows: int) -> DecodeKVCache:
        """An empty cache; `like` has a tensor [·, head, ·, channel] for each layer."""
        storages = [
            (_allocate(x, rows, _STEP).zero_(), _allocate(x, rows, _STEP).zero_()) for x in like
        ]
        return DecodeKVCache(storages, [0] * rows)

    def open_column(self) -> Tensor:
        """Make column `used` visible; returns the attention bias [row × head, 1, column].

        The bias is 0 where a row has a token and −∞ elsewhere.
        """
        first, _ = self.layers[0]
        if first.shape[2] <= self.used:
            self.layers = _grown(self.layers, self.used, _capacity(self.used + 1))
            self._mask = None
        if self._mask is None:
            first, _ = self.layers[0]
            starts = torch.tensor([[self.used - n] for n in self.lengths], device=first.device)
            columns = torch.arange(first.shape[2], device=first.device)
            visible = (columns >= starts) & (columns < self.used)
            self._mask = bias_by_head(visible, first)
        # Every row writes this column, and the bias of the others stays as it is.
        self._mask[:, :, self.used] = 0
        return self._mask

    def column_written(self) -> None:
        """Record that every row has one more token, in column `used`."""
        self.used += 1
        self.lengths = [n + 1 for n in self.lengths]

    def remove_rows(self, rows: Sequence[int]) -> tuple[DecodeKVCache, list[int]]:
        """Remove rows; returns the cache and the old index of each remaining row.

        Consumes this cache. The last rows move into the gaps, so that only they are copied.
        """
        removed, left = set(rows), len(self.lengths) - len(rows)
        holes = sorted(i for i in removed if i < left)
        moved = [i for i in range(left, len(self.lengths)) if i not in removed]
        order = list(range(left))
        for hole, mover in zip(holes, moved, strict=True):
            order[hole] = mover
        if holes:
            for x in (x for pair in self.layers for x in pair):
                x[holes, :, : self.used] = x[moved, :, : self.used]
        kept = [(k[:left], v[:left]) for k, v in self.layers]
        # The views keep the storage alive; through this cache's own tensors it would outlive them.
        self.layers = []
        table = DecodeKVCache(kept, [self.lengths[i] for i in order], self.used)
        spare = self.used - max(table.lengths)  # columns that only removed rows used
        return (DecodeKVCache.stack([table]) if spare >= _STEP else table), order

    @staticmethod
    def stack(tables: Sequence[DecodeKVCache]) -> DecodeKVCache:
        """Concatenate along rows, into a new cache; the others are consumed."""
        rows, used = sum(len(t.lengths) for t in tables), max(max(t.lengths) for t in tables)

        def stacked(parts: Sequence[Tensor]) -> Tensor:
            storage, at = _allocate(parts[0], rows, _capacity(used + 1)), 0
            for part, table in zip(parts, tables, strict=True):
                into, width = storage[at : at + len(part)], min(used, table.used)
                into[:, :, : used - width] = 0
                into[:, :, used - width : used] = part[:, :, table.used - width : table.used]
                into[:, :, used:] = 0
                at += len(part)
            return storage

        layers = _copied([t.layers for t in tables], stacked, consume=True)
        return DecodeKVCache(layers, [n for t in tables for n in t.lengths], used)


def _copied(
    tables: Sequence[list[tuple[Tensor, Tensor]]],
    copy: Callable[[Sequence[Tensor]], Tensor],
    consume: bool,
) -> list[tuple[Tensor, Tensor]]:
    """Each layer's keys, and values, of all tables, copied into one tensor.

    With `consume` the tables are emptied, each layer as soon as it has been copied.
    """
    if not consume:
        tables = [list(table) for table in tables]
    copies, freed = [], 0
    for table in tables:
        table.reverse()  # so that `pop` takes the first layer first, at no cost
    while tables[0]:
        keys, values = (list(x) for x in zip(*(table.pop() for table in tables), strict=True))
        size = sum(x.nbytes for x in keys)
        new_keys = copy(keys)
        keys.clear()  # before the values are copied, which then find this storage free
        copies.append((new_keys, copy(values)))
        freed += 2 * size
        if consume and freed >= _RETURNED:
            values.clear()
            return_freed()
            freed = 0
    return copies


def _grown(
    layers: list[tuple[Tensor, Tensor]], used: int, columns: int
) -> list[tuple[Tensor, Tensor]]:
    """Copy the first `used` columns into tensors of `columns` columns; empties `layers`.

    Each old tensor's storage is reused for the next one if it is large enough, and freed otherwise.
    Nothing else may refer to it, and it has to begin at its storage's beginning.
    """
    spare: Tensor | None = None

    def grown(parts: Sequence[Tensor]) -> Tensor:
        nonlocal spare
        (x,) = parts
        storage = _allocate(x, len(x), columns, spare)
        storage[:, :, :used] = x[:, :, :used]
        storage[:, :, used:] = 0
        spare = x
        return storage

    return _copied([layers], grown, consume=True)


def attention_bias(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """Added to attention scores: 0 where a column is visible, −∞ where it is not."""
    added = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return added.masked_fill_(~visible, float("-inf"))


def bias_by_head(visible: Tensor, like: Tensor) -> Tensor:
    """`attention_bias` of visible [row, column], repeated for each head of `like`.

    Returns [row × head, 1, column].
    """
    return attention_bias(visible, like.dtype)[:, None].repeat_interleave(like.shape[1], 0)
