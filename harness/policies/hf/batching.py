"""Divides the samples of an update into micro-batches, so that prefixes are shared.

The result depends on the samples only, so that an update can be repeated exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from harness.policies.base import Sample
from harness.policies.hf.activation_memory import MASK_BYTES

Ids = tuple[int, ...]

MIN_SHARED_PREFIX = 16  # tokens; processing a shorter shared prefix apart costs more than it saves
_MAX_BRANCHING = 4  # limit on a micro-batch's tokens if nothing were shared, in micro-batches
_PASS_COST = 256  # tokens whose processing costs as much as the overhead of one more pass


def split_by_length(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Separate long completions from those at most half as long.

    Only where that saves more padding than processing the shorter ones' prompts again costs.
    """
    ordered = sorted(samples, key=lambda s: -len(s.sampled))
    parts: list[list[Sample]] = []
    width = 0
    for i, sample in enumerate(ordered):
        length = len(sample.sampled)
        # Cut only where the length drops, so that completions of one length stay together.
        if 2 * length <= width and length < len(ordered[i - 1].sampled):
            reread = sum(map(len, {s.prompt for s in ordered[i:]}))
            if (len(ordered) - i) * (width - length) > reread + _PASS_COST:
                width = 0
        if not width:
            parts.append([])
            width = length
        parts[-1].append(sample)
    return parts


def micro_batches(
    samples: Sequence[Sample], tokens: int, whole: bool = False
) -> list[list[Sample]]:
    """Micro-batches for a padding forward pass: longest prompts first, equal prompts together.

    Prompts with a common beginning are neighbours. A micro-batch has at most `tokens` padded
    tokens; an equal prompt counts once, or with `whole`, where each text is processed from its
    beginning, with every sample. A larger sample goes alone.
    """
    # Prompts that begin alike sort by the longest of them, so that their lengths do not part them.
    longest: dict[Ids, int] = {}
    for s in samples:
        head = s.prompt[:MIN_SHARED_PREFIX]
        longest[head] = max(longest.get(head, 0), len(s.prompt))

    def order(s: Sample) -> tuple[object, ...]:
        head = s.prompt[:MIN_SHARED_PREFIX]
        return -longest[head], head, -len(s.prompt), s.prompt, -len(s.sampled)

    packed: list[list[Sample]] = []
    for sample in sorted(samples, key=order):
        grown = [*packed[-1], sample] if packed else [sample]
        fits = padded_tokens(grown, whole) <= tokens
        if packed and fits and (whole or _padded_mask(grown) <= MASK_BYTES):
            packed[-1].append(sample)
        else:
            packed.append([sample])
    return packed


def padded_tokens(batch: Sequence[Sample], whole: bool = False) -> int:
    """Tokens that a padding forward pass computes; see `micro_batches`.

    Padding is paid for: every row is computed as wide as the widest.
    """
    if whole:
        return len(batch) * max(len(model_input(s)) for s in batch)
    prompts = {s.prompt for s in batch}
    replies = len(batch) * max(len(s.sampled) for s in batch)
    return replies + len(prompts) * max(map(len, prompts))


def _padded_mask(batch: Sequence[Sample]) -> int:
    """Bytes of the float32 mask with which padded completions attend to prompts and themselves."""
    width = max(len(s.sampled) for s in batch)
    return 4 * len(batch) * width * (max(len(s.prompt) for s in batch) + width)


def tree_tokens(batch: Sequence[Sample]) -> int:
    """Tokens of the batch's texts, where a shared prefix counts once."""
    total = 0
    before: Ids = ()
    for text in sorted(map(model_input, batch)):
        total += len(text) - _common_length(before, text)
        before = text
    return total


def tree_batches(samples: Sequence[Sample], tokens: int) -> list[list[Sample]]:
    """Micro-batches for a forward pass without padding that processes shared prefixes once.

    A micro-batch has at most `tokens` tokens to process. Keys and values are copied for each
    branch, so the tokens attended to are limited too, to `_MAX_BRANCHING` times as many. A larger
    sample goes alone.
    """
    packed: list[list[Sample]] = []
    before: Ids = ()
    forks: list[int] = []  # where earlier texts branch off the last one
    tokens_read = attended = 0
    # In sorted order no earlier text has more in common with this one than the one just before it.
    for sample in sorted(samples, key=model_input):
        text = model_input(sample)
        common = _common_length(before, text)
        new = more = len(text) - common
        if common < len(before):  # the end of the last text becomes a branch of its own
            more = len(text) + (0 if common in forks else common)
            forks = [*(fork for fork in forks if fork < common), common]
        fits = tokens_read + new <= tokens and attended + more <= _MAX_BRANCHING * tokens
        if packed and fits:
            packed[-1].append(sample)
        else:
            packed.append([sample])
            forks, tokens_read, attended = [], 0, 0
            new = more = len(text)
        tokens_read, attended = tokens_read + new, attended + more
        before = text
    return packed


def model_input(sample: Sample) -> Ids:
    """The ids that an update processes: all but the last token, which nothing follows."""
    return sample.prompt + sample.sampled[:-1]


def prefix_groups(prompts: Sequence[Ids]) -> list[tuple[Ids, list[Ids]]]:
    """Group neighbouring prompts with a common beginning; returns each prefix and its group.

    A prefix leaves every prompt at least one token of its own.
    """
    # `groupby` sees neighbours only; `micro_batches` has put equal beginnings side by side.
    groups = [list(g) for _, g in groupby(prompts, key=lambda p: p[:MIN_SHARED_PREFIX])]
    return [(g[0][: common_prefix_length(g)], g) for g in groups]


def common_prefix_length(prompts: Sequence[Ids]) -> int:
    """Length of the prompts' common prefix that leaves each at least one token."""
    common = _common_length(
        min(prompts), max(prompts)
    )  # in sorted order, all others lie between these two
    return max(0, min(common, min(map(len, prompts)) - 1))


def _common_length(one: Ids, other: Ids) -> int:
    """Length of the common prefix of two sequences."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
