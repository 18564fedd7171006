"""How samples are laid out for an update: which go together, and what their prompts share.

Everything here is a function of the samples only, so that an update repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from harness.policies.base import Sample

Ids = tuple[int, ...]

SHORTEST_HEAD = 16  # tokens; a shared beginning shorter than this is not worth a pass
_SEEN = 4  # times the tokens of a micro-batch that its samples may come to without sharing
_PASS = 256  # tokens that one more pass costs, besides those it reads


def by_length(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Long replies apart from those at most half as long, where that saves more padding than it
    costs to read the prompts of the shorter ones again.
    """
    ordered = sorted(samples, key=lambda s: -len(s.sampled))
    parts: list[list[Sample]] = []
    width = 0
    for i, sample in enumerate(ordered):
        length = len(sample.sampled)
        if 2 * length <= width and length < len(ordered[i - 1].sampled):
            again = sum(map(len, {s.prompt for s in ordered[i:]}))
            if (len(ordered) - i) * (width - length) > again + _PASS:
                width = 0
        if not width:
            parts.append([])
            width = length
        parts[-1].append(sample)
    return parts


def micro_batches(samples: Sequence[Sample], tokens: int, columns: int) -> list[list[Sample]]:
    """Samples packed by length, longest prompts first, equal prompts together, and next to them
    those that begin alike.

    A micro-batch has at most `tokens` padded tokens and `columns` padded sampled ones; a sample
    that is larger by itself goes alone. An equal prompt counts once.
    """
    longest: dict[Ids, int] = {}
    for s in samples:
        head = s.prompt[:SHORTEST_HEAD]
        longest[head] = max(longest.get(head, 0), len(s.prompt))

    def place(s: Sample) -> tuple[object, ...]:
        head = s.prompt[:SHORTEST_HEAD]
        return -longest[head], head, -len(s.prompt), s.prompt, -len(s.sampled)

    packed: list[list[Sample]] = []
    for sample in sorted(samples, key=place):
        grown = [*packed[-1], sample] if packed else [sample]
        replies = len(grown) * max(len(s.sampled) for s in grown)
        different = {s.prompt for s in grown}
        prompts = len(different) * max(map(len, different))
        if packed and replies + prompts <= tokens and replies <= columns:
            packed[-1].append(sample)
        else:
            packed.append([sample])
    return packed


def tree_batches(samples: Sequence[Sample], tokens: int, columns: int) -> list[list[Sample]]:
    """Samples packed for a reader that pads nothing and reads what texts share once.

    A micro-batch has at most `tokens` tokens to read, but for beginnings too short to be shared,
    which attend to `_SEEN` times as many at most (their keys and values stand side by side), and
    `columns` sampled ones; a sample that is larger by itself goes alone.
    """
    packed: list[list[Sample]] = []
    before: Ids = ()
    forks: list[int] = []  # where earlier texts leave the last one
    read = said = seen = 0
    for sample in sorted(samples, key=text_of):
        text = text_of(sample)
        common = _alike(before, text)
        new = more = len(text) - common
        if common < len(before):  # what the last one ends with now stands by itself
            more = len(text) + (0 if common in forks else common)
            forks = [*(fork for fork in forks if fork < common), common]
        fits = read + new <= tokens and seen + more <= _SEEN * tokens
        if packed and fits and said + len(sample.sampled) <= columns:
            packed[-1].append(sample)
        else:
            packed.append([sample])
            forks, read, said, seen = [], 0, 0, 0
            new = more = len(text)
        read, said, seen = read + new, said + len(sample.sampled), seen + more
        before = text
    return packed


def text_of(sample: Sample) -> Ids:
    """What an update reads of it: all but its last token, which nothing follows."""
    return sample.prompt + sample.sampled[:-1]


def beginnings(prompts: Sequence[Ids]) -> list[tuple[Ids, list[Ids]]]:
    """Neighbours that begin alike, as what all of a group begin with, and the group.

    A beginning leaves every prompt at least one token of its own.
    """
    groups = [list(g) for _, g in groupby(prompts, key=lambda p: p[:SHORTEST_HEAD])]
    return [(g[0][: shared(g)], g) for g in groups]


def shared(prompts: Sequence[Ids]) -> int:
    """How many ids all prompts begin with, so that each has at least one besides."""
    alike = _alike(min(prompts), max(prompts))  # all others lie between these two
    return max(0, min(alike, min(map(len, prompts)) - 1))


def _alike(one: Ids, other: Ids) -> int:
    """How many ids both begin with."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
