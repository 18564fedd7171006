"""Tables of keys and values, for `lean`: of prompts, each row as long as it is, and of replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_MOST_SPARE = 16  # times the room that is needed
_STEP = 16  # columns; MKL's batched products are fastest where a table has a multiple of these


def _capacity(columns: int) -> int:
    """How many columns a table of so many written ones has: it is multiplied with as a whole, since
    a product with a part of it takes up to four times as long.
    """
    step = _STEP * max(1, columns // (8 * _STEP))
    return -(-columns // step) * step


def _room(like: Tensor, rows: int, columns: int, spare: Tensor | None = None) -> Tensor:
    """Room [row, head, column, channel] for tokens like those of a table, of whatever it held:
    that of `spare`, whose numbers are lost, where it is enough.

    More is set aside than is used at first, so that a table that grows finds the room that the one
    before it has left: fresh memory costs as much as several decoding steps.
    """
    _, heads, _, channels = like.shape
    aside = -(-columns // (4 * _STEP)) * 4 * _STEP
    needed = rows * heads * columns * channels * like.itemsize
    # A table that rows have left may have far more room than they had.
    if spare is None or not needed <= spare.untyped_storage().nbytes() <= _MOST_SPARE * needed:
        spare = like.new_empty(rows * heads * aside * channels)
    strides = (heads * columns * channels, columns * channels, channels, 1)
    return spare.as_strided((rows, heads, columns, channels), strides, 0)


@dataclass(slots=True)
class PromptKVCache:
    """Keys and values [row, head, column, channel] of each layer, and how many columns of each row
    hold a token. What stands beyond them is a number and never attended to.
    """

    layers: list[tuple[Tensor, Tensor]]
    lengths: list[int]

    @staticmethod
    def empty(like: Sequence[Tensor], rows: int) -> PromptKVCache:
        """No tokens yet; `like` has a tensor [·, head, ·, channel] for each layer."""
        blank = [x.new_zeros(2, rows, x.shape[1], 0, x.shape[3]) for x in like]
        return PromptKVCache([(both[0], both[1]) for both in blank], [0] * rows)

    def blank(self, rows: int) -> PromptKVCache:
        """A table of the same kind without tokens."""
        return PromptKVCache.empty([keys for keys, _ in self.layers], rows)

    def grow(self, columns: int) -> None:
        """Make room for so many columns."""
        if self.layers[0][0].shape[2] >= columns:
            return
        self.layers = _grown(self.layers, max(self.lengths), _capacity(columns))

    def take(self, rows: list[int]) -> PromptKVCache:
        """These rows, in a table of their own."""
        layers = [(k[rows], v[rows]) for k, v in self.layers]
        return PromptKVCache(layers, [self.lengths[i] for i in rows])

    @staticmethod
    def stack(tables: Sequence[PromptKVCache]) -> PromptKVCache:
        """One below the other, in a table of their own."""
        rows = sum(len(t.lengths) for t in tables)
        used = max(max(t.lengths) for t in tables)

        def stacked(parts: Sequence[Tensor]) -> Tensor:
            _, heads, _, channels = parts[0].shape
            room, at = parts[0].new_zeros(rows, heads, _capacity(used), channels), 0
            for part in parts:
                columns = min(used, part.shape[2])
                room[at : at + len(part), :, :columns] = part[:, :, :columns]
                at += len(part)
            return room

        layers = [
            (stacked([k for k, _ in pairs]), stacked([v for _, v in pairs]))
            for pairs in zip(*(t.layers for t in tables), strict=True)
        ]
        return PromptKVCache(layers, [n for t in tables for n in t.lengths])


@dataclass(slots=True)
class DecodeKVCache:
    """Keys and values [row, head, column, channel] of each layer, all rows written up to column
    `used`: row i's tokens stand in the last lengths[i] of these columns.

    A token is thus written to one column, whatever the row. What stands elsewhere is a number and
    never attended to.
    """

    layers: list[tuple[Tensor, Tensor]]
    lengths: list[int]
    used: int = 0
    _mask: Tensor | None = None

    @staticmethod
    def empty(like: Sequence[Tensor], rows: int) -> DecodeKVCache:
        """No tokens yet; `like` has a tensor [·, head, ·, channel] for each layer."""
        rooms = [(_room(x, rows, _STEP).zero_(), _room(x, rows, _STEP).zero_()) for x in like]
        return DecodeKVCache(rooms, [0] * rows)

    def open(self) -> Tensor:
        """Make column `used` one that is attended to. Returns what is added to scores
        [row × head, 1, column]: 0 where a row has a token and −∞ elsewhere.
        """
        first, _ = self.layers[0]
        if first.shape[2] <= self.used:
            self.layers = _grown(self.layers, self.used, _capacity(self.used + 1))
            self._mask = None
        if self._mask is None:
            first, _ = self.layers[0]
            starts = torch.tensor([[self.used - n] for n in self.lengths], device=first.device)
            columns = torch.arange(first.shape[2], device=first.device)
            seen = (columns >= starts) & (columns < self.used)
            self._mask = by_head(seen, first)
        self._mask[:, :, self.used] = 0
        return self._mask

    def written(self) -> None:
        """Every row has one token more, in column `used`."""
        self.used += 1
        self.lengths = [n + 1 for n in self.lengths]

    def without(self, rows: Sequence[int]) -> tuple[DecodeKVCache, list[int]]:
        """Without these rows, and which row stands where now: the last ones fill the gaps."""
        gone, left = set(rows), len(self.lengths) - len(rows)
        holes = sorted(i for i in gone if i < left)
        movers = [i for i in range(left, len(self.lengths)) if i not in gone]
        order = list(range(left))
        for hole, mover in zip(holes, movers, strict=True):
            order[hole] = mover
        if holes:
            for x in (x for pair in self.layers for x in pair):
                x[holes, :, : self.used] = x[movers, :, : self.used]
        kept = [(k[:left], v[:left]) for k, v in self.layers]
        table = DecodeKVCache(kept, [self.lengths[i] for i in order], self.used)
        spare = self.used - max(table.lengths)  # columns that only those that leave had
        return (DecodeKVCache.stack([table]) if spare >= _STEP else table), order

    @staticmethod
    def stack(tables: Sequence[DecodeKVCache]) -> DecodeKVCache:
        """One below the other, in a table of their own."""
        rows, used = sum(len(t.lengths) for t in tables), max(max(t.lengths) for t in tables)

        def stacked(parts: Sequence[Tensor]) -> Tensor:
            room, at = _room(parts[0], rows, _capacity(used + 1)), 0
            for part, table in zip(parts, tables, strict=True):
                into, width = room[at : at + len(part)], min(used, table.used)
                into[:, :, : used - width] = 0
                into[:, :, used - width : used] = part[:, :, table.used - width : table.used]
                into[:, :, used:] = 0
                at += len(part)
            return room

        layers = [
            (stacked([k for k, _ in pairs]), stacked([v for _, v in pairs]))
            for pairs in zip(*(t.layers for t in tables), strict=True)
        ]
        return DecodeKVCache(layers, [n for t in tables for n in t.lengths], used)


def _grown(
    layers: Sequence[tuple[Tensor, Tensor]], used: int, columns: int
) -> list[tuple[Tensor, Tensor]]:
    """The first `used` columns in tables of so many. Each table's room goes to the next one: nobody
    else may own it, and it has to begin where its storage does.
    """
    spare: Tensor | None = None

    def grown(x: Tensor) -> Tensor:
        nonlocal spare
        room = _room(x, len(x), columns, spare)
        room[:, :, :used] = x[:, :, :used]
        room[:, :, used:] = 0
        spare = x
        return room

    return [(grown(k), grown(v)) for k, v in layers]


def blind(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: 0 where a column is seen, and −∞ where it is not."""
    added = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return added.masked_fill_(~seen, float("-inf"))


def by_head(seen: Tensor, like: Tensor) -> Tensor:
    """The same for rows [row, column], for each head of a table [row, head, column, channel]:
    [row × head, 1, column].
    """
    return blind(seen, like.dtype)[:, None].repeat_interleave(like.shape[1], 0)
