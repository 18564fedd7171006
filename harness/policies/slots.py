"""What rows have read, for `lean`: a prompt's keys and values once for all of its replies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_ROOM = 64  # columns added at a time when a table grows


@dataclass(slots=True)
class Columns:
    """Keys and values [row, head, column, channel] of each layer, and how many columns of each row
    hold a token. What stands beyond them is never attended to.
    """

    layers: list[tuple[Tensor, Tensor]]
    lengths: list[int]

    @staticmethod
    def empty(like: Sequence[Tensor], rows: int) -> Columns:
        """No tokens yet; `like` has a tensor [·, head, ·, channel] for each layer."""
        blank = [x.new_zeros(2, rows, x.shape[1], _ROOM, x.shape[3]) for x in like]
        return Columns([(both[0], both[1]) for both in blank], [0] * rows)

    def grow(self, columns: int) -> None:
        """Make room for so many columns."""
        if self.layers[0][0].shape[2] >= columns:
            return
        used = max(self.lengths)

        def grown(x: Tensor) -> Tensor:
            room = x.new_zeros(*x.shape[:2], columns + _ROOM, x.shape[3])
            room[:, :, :used] = x[:, :, :used]
            return room

        self.layers = [(grown(k), grown(v)) for k, v in self.layers]

    def take(self, rows: list[int]) -> Columns:
        """These rows, in a table of their own."""
        layers = [(k[rows], v[rows]) for k, v in self.layers]
        return Columns(layers, [self.lengths[i] for i in rows])

    def without(self, rows: Sequence[int]) -> tuple[Columns, list[int]]:
        """Without these rows, and which row stands where now: the last ones fill the gaps."""
        gone, left = set(rows), len(self.lengths) - len(rows)
        holes = sorted(i for i in gone if i < left)
        movers = [i for i in range(left, len(self.lengths)) if i not in gone]
        order = list(range(left))
        for hole, mover in zip(holes, movers, strict=True):
            order[hole] = mover
        if holes:
            used = max(self.lengths)
            for x in (x for pair in self.layers for x in pair):
                x[holes, :, :used] = x[movers, :, :used]
        layers = [(k[:left], v[:left]) for k, v in self.layers]
        return Columns(layers, [self.lengths[i] for i in order]), order

    @staticmethod
    def stack(tables: Sequence[Columns]) -> Columns:
        """One below the other, in a table of their own."""
        rows = sum(len(t.lengths) for t in tables)
        used = max(max(t.lengths) for t in tables)

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
            for pairs in zip(*(t.layers for t in tables), strict=True)
        ]
        return Columns(layers, [n for t in tables for n in t.lengths])


@dataclass(slots=True)
class Slots:
    """Prompts that have been read and, once `repeat` has seated replies, what these have said.

    `prompt` names each reply's prompt. Reading on uses a state up: its tables grow in place.
    """

    shared: Columns
    own: Columns | None = None
    prompt: tuple[int, ...] = ()
    _layout: tuple[Tensor, Tensor] | None = None

    @property
    def rows(self) -> int:
        """How many rows it has: replies, or prompts as long as there are none."""
        return len(self.shared.lengths if self.own is None else self.own.lengths)

    def repeat(self, counts: Sequence[int]) -> Slots:
        """Seat counts[i] replies to prompt i."""
        prompt = tuple(i for i, count in enumerate(counts) for _ in range(count))
        own = Columns.empty([k for k, _ in self.shared.layers], len(prompt))
        return Slots(self.shared, own, prompt)

    def without(self, rows: Sequence[int]) -> tuple[Slots, list[int]]:
        """Without these replies, and which one stands where now."""
        assert self.own is not None
        own, order = self.own.without(rows)
        left = Slots(self.shared, own, tuple(self.prompt[i] for i in order))
        waste = 2 * len(set(left.prompt)) <= len(self.shared.lengths)
        return (left._pruned() if waste else left), order

    def alone(self, row: int) -> Slots:
        """All that one reply has read, its prompt included, as a prompt in a table of its own; or
        one prompt, as long as there are no replies.
        """
        if self.own is None:
            return Slots(self.shared.take([row]))
        prompt = self.prompt[row]
        before, said = self.shared.lengths[prompt], self.own.lengths[row]

        def joined(old: Tensor, new: Tensor) -> Tensor:
            parts = (old[prompt : prompt + 1, :, :before], new[row : row + 1, :, :said])
            return torch.cat(parts, 2)

        layers = [
            (joined(old_keys, keys), joined(old_values, values))
            for (old_keys, old_values), (keys, values) in zip(
                self.shared.layers, self.own.layers, strict=True
            )
        ]
        return Slots(Columns(layers, [before + said]))

    def _pruned(self) -> Slots:
        """Without prompts that no reply needs any more."""
        needed = sorted(set(self.prompt))
        if len(needed) == len(self.shared.lengths):
            return self
        new = {old: i for i, old in enumerate(needed)}
        return Slots(self.shared.take(needed), self.own, tuple(new[i] for i in self.prompt))

    @staticmethod
    def stack(states: Sequence[Slots]) -> Slots:
        """One below the other, in tables of their own: all prompts, or all with replies."""
        if any(s.own is None for s in states):
            return Slots(Columns.stack([s.shared for s in states]))
        states = [s._pruned() for s in states]
        prompt: list[int] = []
        at = 0
        for state in states:
            prompt += [at + i for i in state.prompt]
            at += len(state.shared.lengths)
        own = Columns.stack([s.own for s in states if s.own is not None])
        return Slots(Columns.stack([s.shared for s in states]), own, tuple(prompt))

    def layout(self) -> tuple[Tensor, Tensor]:
        """The replies of each prompt [prompt, place], filled up with reply 0; and where each reply
        stands in that table [reply], counting places row by row.
        """
        if self._layout is None:
            members: list[list[int]] = [[] for _ in self.shared.lengths]
            for row, prompt in enumerate(self.prompt):
                members[prompt].append(row)
            places = max(map(len, members))
            table = [rows + [0] * (places - len(rows)) for rows in members]
            found = {row: p * places + i for p, m in enumerate(members) for i, row in enumerate(m)}
            device = self.shared.layers[0][0].device
            where = [found[row] for row in range(len(self.prompt))]
            self._layout = (
                torch.tensor(table, device=device),
                torch.tensor(where, device=device),
            )
        return self._layout
