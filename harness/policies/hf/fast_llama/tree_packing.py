"""A batch of samples as one row of tokens, each token once, and what each of them attends to.

Texts, prompts with what was replied, are a tree: what some begin with stands once for all of them.
So does a prompt for its replies, what replies have in common, and a conversation for its turns.
Nothing is padded except inside attention, where pieces of about the same length go together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import torch
from torch import Tensor

from harness.policies.base import Sample
from harness.policies.hf.batching import Ids, shared, text_of
from harness.policies.hf.fast_llama.kv_cache import blind

_SHORTEST = 8  # tokens; pieces up to this length attend together
_CALL = 512  # columns that one more call costs
_PIECE = 8  # tokens that have to be spared for one more piece


@dataclass(slots=True)
class Segment:
    """Neighbouring tokens, and the piece that they follow. `start` is their place in the row."""

    ids: Ids
    follows: Segment | None = None
    start: int = 0

    @property
    def context(self) -> list[Segment]:
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

    @property
    def row(self) -> list[int]:
        """Where the text that ends here has its tokens, from the beginning."""
        parts = (*self.context, self)
        return [i for p in parts for i in range(p.start, p.start + len(p.ids))]


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
class PackedBatch:
    """`ids` and `positions` [token], these below `longest`; `wanted` [place] are the tokens that a
    sampled one follows, `places` [sampled token] which of them each follows, sample after sample;
    `calls` cover the row in order.
    """

    ids: Tensor
    positions: Tensor
    longest: int
    wanted: Tensor
    places: Tensor
    calls: list[Call] = field(default_factory=list)


def pack(batch: Sequence[Sample]) -> PackedBatch:
    """Lay a batch out."""
    texts = [text_of(s) for s in batch]
    whole = _wholes(texts)
    ends: dict[Ids, Segment] = {}
    groups = list(_alike(list(_branches(sorted(set(whole.values())), ends))))
    ordered = [p for group in groups for p in group]
    length = 0
    for piece in ordered:
        piece.start = length
        length += len(piece.ids)
    rows = {text: piece.row for text, piece in ends.items()}
    before = [
        i
        for s, text in zip(batch, texts, strict=True)
        for i in rows[whole[text]][len(s.prompt) - 1 : len(text)]
    ]
    wanted = {i: place for place, i in enumerate(dict.fromkeys(before))}
    return PackedBatch(
        torch.tensor([i for p in ordered for i in p.ids]),
        torch.tensor([i for p in ordered for i in range(p.position, p.position + len(p.ids))]),
        max(p.position + len(p.ids) for p in ordered),
        torch.tensor(list(wanted)),
        torch.tensor([wanted[i] for i in before]),
        [_call(group) for group in groups],
    )


def _wholes(texts: Sequence[Ids]) -> dict[Ids, Ids]:
    """For each text, one that it is the beginning of, and that no other begins with: itself, where
    none goes on from it.
    """
    ordered = sorted(set(texts))
    found = {ordered[-1]: ordered[-1]}
    for text, after in reversed(list(pairwise(ordered))):  # what goes on from a text follows it
        found[text] = found[after] if after[: len(text)] == text else text
    return found


def _branches(texts: Sequence[Ids], ends: dict[Ids, Segment]) -> Iterator[Segment]:
    """The pieces of sorted texts, none of which begins another: what some share, if it is long
    enough, then each branch. Notes each text's last piece in `ends`.
    """
    waiting: list[tuple[Sequence[Ids], int, Segment | None]] = [(texts, 0, None)]
    while waiting:
        alike, begin, follows = waiting.pop()
        if len(alike) == 1:
            ends[alike[0]] = Segment(alike[0][begin:], follows)
            yield ends[alike[0]]
            continue
        common = shared(alike)
        if (common - begin) * (len(alike) - 1) >= _PIECE:
            follows = Segment(alike[0][begin:common], follows)
            yield follows
            begin = common
        apart = [list(group) for _, group in groupby(alike, key=lambda text: text[common])]
        waiting += [(group, begin, follows) for group in apart]


def _alike(pieces: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Pieces grouped so that none is less than half as long as another, but for short ones; those
    that follow little apart from those that follow much, where that saves enough padding.
    """
    groups: dict[int, list[Segment]] = {}
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


def _call(pieces: Sequence[Segment]) -> Call:
    width = max(len(p.ids) for p in pieces)
    rows = [p.row for p in pieces]
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
