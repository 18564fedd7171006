"""A batch of samples as one row of tokens, each token once, and what each of them attends to.

Prompts are a tree: what some begin with stands once for all of them, as does a prompt for all of
its replies. Nothing is padded except inside attention, where pieces of about the same length go
together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from harness.policies.base import Sample
from harness.policies.layout import Ids, shared
from harness.policies.tables import blind

_SHORTEST = 8  # tokens; pieces up to this length attend together
_CALL = 512  # columns that one more call costs
_SHORTEST_BRANCH = 4  # tokens; sharing fewer spares next to nothing


@dataclass(slots=True)
class Piece:
    """Neighbouring tokens, and the piece that they follow. `start` is their place in the row."""

    ids: Ids
    follows: Piece | None = None
    start: int = 0

    @property
    def context(self) -> list[Piece]:
        """What comes before it, from the beginning."""
        found, piece = [], self.follows
        while piece is not None:
            found.append(piece)
            piece = piece.follows
        return found[::-1]

    @property
    def position(self) -> int:
        """Of its first token in its own text."""
        return sum(len(p.ids) for p in self.context)

    def last(self) -> int:
        """Where the text that ends here has its last token."""
        if self.ids:
            return self.start + len(self.ids) - 1
        assert self.follows is not None
        return self.follows.last()


@dataclass(frozen=True, slots=True)
class Call:
    """Pieces that attend together: `first` to `last` of the row are their tokens.

    `queries` [piece, token] and `keys` [piece, column] say which token of the row stands where
    (queries count from `first`; padding is 0), `mask` [piece, 1, token, column] is added to scores,
    `back` [token] finds each token's result among [piece × token].
    """

    first: int
    last: int
    queries: Tensor
    keys: Tensor
    mask: Tensor
    back: Tensor


@dataclass(frozen=True, slots=True)
class Flat:
    """`ids` and `positions` [token], these below `longest`; `wanted` [sampled token] is where the
    token before each sampled one stands, sample after sample; `calls` cover the row in order.
    """

    ids: Tensor
    positions: Tensor
    longest: int
    wanted: Tensor
    calls: list[Call] = field(default_factory=list)


def flat(batch: Sequence[Sample]) -> Flat:
    """Lay a batch out."""
    ends: dict[Ids, Piece] = {}
    pieces = list(_branches(sorted({s.prompt for s in batch}), 0, None, ends))
    replies = [Piece(s.sampled[:-1], ends[s.prompt]) for s in batch]
    groups = list(_alike([*pieces, *replies]))
    length = 0
    for piece in (p for group in groups for p in group):
        piece.start = length
        length += len(piece.ids)
    ordered = [p for group in groups for p in group]
    wanted = [i for reply in replies for i in _before(reply)]
    return Flat(
        torch.tensor([i for p in ordered for i in p.ids]),
        torch.tensor([i for p in ordered for i in range(p.position, p.position + len(p.ids))]),
        max(p.position + len(p.ids) for p in ordered),
        torch.tensor(wanted),
        [_call(group) for group in groups],
    )


def _branches(
    prompts: Sequence[Ids], begin: int, follows: Piece | None, ends: dict[Ids, Piece]
) -> Iterator[Piece]:
    """The pieces of sorted prompts that agree up to `begin`, where `follows` ends: what they go on
    to share, if it is long enough, then each branch. Notes each prompt's last piece in `ends`.
    """
    if len(prompts) == 1:
        ends[prompts[0]] = Piece(prompts[0][begin:], follows)
        yield ends[prompts[0]]
        return
    common = shared(prompts)
    if common - begin >= _SHORTEST_BRANCH:
        follows = Piece(prompts[0][begin:common], follows)
        yield follows
        begin = common
    alike = [
        list(g) for _, g in groupby(prompts, key=lambda p: p[begin : begin + _SHORTEST_BRANCH])
    ]
    for group in alike if len(alike) > 1 else ([p] for p in prompts):
        yield from _branches(group, begin, follows, ends)


def _before(reply: Piece) -> Iterator[int]:
    """The token before each sampled one: the prompt's last, and the reply's own."""
    assert reply.follows is not None
    yield reply.follows.last()
    yield from range(reply.start, reply.start + len(reply.ids))


def _alike(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces grouped so that none is less than half as long as another, but for short ones; those
    that follow little apart from those that follow much, where that saves enough padding.
    """
    groups: dict[int, list[Piece]] = {}
    for piece in pieces:
        if piece.ids:
            size = max(_SHORTEST, len(piece.ids))
            groups.setdefault((size - 1).bit_length(), []).append(piece)
    for size in sorted(groups):
        group = sorted(groups[size], key=lambda p: p.position)
        spared = [i * (group[-1].position - p.position) for i, p in enumerate(group, 1)]
        most = max(spared)
        cut = spared.index(most) + 1 if most > _CALL else 0
        yield from (part for part in (group[:cut], group[cut:]) if part)


def _call(pieces: Sequence[Piece]) -> Call:
    width = max(len(p.ids) for p in pieces)
    rows = [
        [i for q in (*p.context, p) for i in range(q.start, q.start + len(q.ids))] for p in pieces
    ]
    columns = max(map(len, rows))
    first, last = pieces[0].start, pieces[-1].start + len(pieces[-1].ids)
    places = [[*range(p.start - first, p.start - first + len(p.ids))] for p in pieces]
    # What a padding token attends to does not matter; it has to attend to something.
    before = torch.tensor([len(r) - len(p.ids) for r, p in zip(rows, pieces, strict=True)])
    seen = torch.arange(columns) <= (before[:, None] + torch.arange(width))[:, :, None]
    return Call(
        first,
        last,
        _table(places, width),
        _table(rows, columns),
        blind(seen, torch.float32)[:, None],
        torch.tensor([n * width + i for n, p in enumerate(pieces) for i in range(len(p.ids))]),
    )


def _table(rows: Sequence[Sequence[int]], width: int) -> Tensor:
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
