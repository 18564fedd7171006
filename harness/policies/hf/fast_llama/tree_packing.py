"""Packs a batch of samples into one row of tokens without padding; shared prefixes occur once.

The texts of a batch (prompts with completions) form a prefix tree. A prompt is processed once for
all of its completions, a common beginning of completions once, a conversation once for all of its
turns. Only attention pads, where segments of about the same length go together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise

import torch
from torch import Tensor

from harness.policies.base import Sample
from harness.policies.hf.activation_memory import MASK_BYTES
from harness.policies.hf.batching import Ids, common_prefix_length, model_input
from harness.policies.hf.fast_llama.kv_cache import attention_bias

SMALL_SCORES = 2**20  # scores of all heads of one call, up to which unfused attention is faster
_MIN_GROUP = 8  # tokens; shorter segments are grouped together
_CALL_COST = 512  # padded columns that cost as much as one more call
_MIN_SAVED = 8  # tokens that one more segment has to save


@dataclass(slots=True)
class Segment:
    """A node of the prefix tree: its tokens, its parent, and its first token's index in the row."""

    ids: Ids
    parent: Segment | None = None
    start: int = 0

    @property
    def ancestors(self) -> list[Segment]:
        """The segments before it, from the root."""
        found, segment = [], self.parent
        while segment is not None:
            found.append(segment)
            segment = segment.parent
        return found[::-1]

    @property
    def position(self) -> int:
        """Position of its first token in its text."""
        return sum(len(p.ids) for p in self.ancestors)

    @property
    def token_indices(self) -> list[int]:
        """Row indices of all tokens of the text that ends with this segment."""
        parts = (*self.ancestors, self)
        return [i for p in parts for i in range(p.start, p.start + len(p.ids))]


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """Segments whose attention is computed together; their tokens are `first` to `last` of the row.

    `queries` [segment, token] and `keys` [segment, column] are indices of tokens in the row
    (queries count from `first`; padding is 0, on the right). `before` has the number of tokens
    before each segment: [1] where that is the same for all. `back` [token] is each token's index in
    the result [segment × token].
    """

    first: int
    last: int
    queries: Tensor
    keys: Tensor
    before: tuple[int, ...]
    back: Tensor
    mask: Tensor | None = None
    """The attention bias of all rows, for every layer; None where it is large or not needed."""

    @property
    def causal(self) -> bool:
        """True where nothing precedes the segments: token i attends to columns 0 to i."""
        return self.before == (0,)

    @property
    def aligned(self) -> bool:
        """True where each token attends to one column more than the token before it, in all rows.

        Columns past a segment's own are padding on the right, which no token of it attends to.
        """
        return len(self.before) == 1

    @property
    def scores(self) -> int:
        """Scores of one head."""
        return self.queries.numel() * self.keys.shape[1]

    def columns(self, last: int) -> int:
        """Columns that the tokens before `last` of each segment attend to."""
        return min(self.keys.shape[1], max(self.before) + last)

    def bias(self, first: int, last: int) -> Tensor:
        """The attention bias [segment or 1, 1, token, column] of tokens `first` to `last`.

        It has the columns that these tokens attend to.
        """
        device = self.queries.device
        before = torch.tensor(self.before, device=device)
        columns = torch.arange(self.columns(last), device=device)
        # Padding tokens attend to something too: a row of −∞ alone would give NaN.
        visible = columns <= (before[:, None] + torch.arange(first, last, device=device))[..., None]
        return attention_bias(visible, torch.float32)[:, None]

    def block_rows(self) -> int:
        """Tokens of each segment whose attention bias keeps within `MASK_BYTES`."""
        row = 4 * len(self.before) * self.keys.shape[1]
        return max(1, min(self.queries.shape[1], MASK_BYTES // row))


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """A packed row: `ids` and `positions` [token], with every position below `longest`.

    `logit_tokens` [place] are the tokens whose logits are needed, because a sampled token follows
    them; `logit_of` [sampled token] is the place of each sampled token's logits, sample after
    sample. `calls` cover the row in order.
    """

    ids: Tensor
    positions: Tensor
    longest: int
    logit_tokens: Tensor
    logit_of: Tensor
    calls: list[AttentionCall] = field(default_factory=list)


def pack(batch: Sequence[Sample], device: torch.device | None = None) -> PackedBatch:
    """Pack a batch; the tensors lie on `device`, except for `logit_of`, which stays on the CPU."""
    texts = [model_input(s) for s in batch]
    extension = _longest_extensions(texts)
    last_segment: dict[Ids, Segment] = {}
    groups = list(_length_groups(list(_segments(sorted(set(extension.values())), last_segment))))
    ordered = [p for group in groups for p in group]
    length = 0
    for segment in ordered:
        segment.start = length
        length += len(segment.ids)
    rows = {text: segment.token_indices for text, segment in last_segment.items()}
    # Logits come from the token before: from the prompt's last to the last but one sampled.
    before = [
        i
        for s, text in zip(batch, texts, strict=True)
        for i in rows[extension[text]][len(s.prompt) - 1 : len(text)]
    ]
    logit_tokens = {i: index for index, i in enumerate(dict.fromkeys(before))}
    return PackedBatch(
        torch.tensor([i for p in ordered for i in p.ids], device=device),
        torch.tensor(
            [i for p in ordered for i in range(p.position, p.position + len(p.ids))], device=device
        ),
        max(p.position + len(p.ids) for p in ordered),
        torch.tensor(list(logit_tokens), device=device),
        torch.tensor([logit_tokens[i] for i in before]),
        [_attention_call(group, device) for group in groups],
    )


def _longest_extensions(texts: Sequence[Ids]) -> dict[Ids, Ids]:
    """For each text, a text of the batch that begins with it and is no prefix of another.

    A text that is no prefix of another is its own extension.
    """
    ordered = sorted(set(texts))
    found = {ordered[-1]: ordered[-1]}
    for text, after in reversed(
        list(pairwise(ordered))
    ):  # in sorted order, extensions of a text come after it
        found[text] = found[after] if after[: len(text)] == text else text
    return found


def _segments(texts: Sequence[Ids], last_segment: dict[Ids, Segment]) -> Iterator[Segment]:
    """The prefix tree's segments for sorted texts, of which none is a prefix of another.

    A common prefix becomes a segment if that saves enough tokens. Records each text's last segment
    in `last_segment`.
    """
    waiting: list[tuple[Sequence[Ids], int, Segment | None]] = [(texts, 0, None)]
    while waiting:
        texts_here, begin, parent = waiting.pop()
        if len(texts_here) == 1:
            last_segment[texts_here[0]] = Segment(texts_here[0][begin:], parent)
            yield last_segment[texts_here[0]]
            continue
        common = common_prefix_length(texts_here)
        if (common - begin) * (len(texts_here) - 1) >= _MIN_SAVED:
            parent = Segment(texts_here[0][begin:common], parent)
            yield parent
            begin = common
        # The texts are sorted, so those with the same next token are neighbours; none ends here.
        branches = [list(group) for _, group in groupby(texts_here, key=lambda text: text[common])]
        waiting += [(group, begin, parent) for group in branches]


def _length_groups(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Group segments by length, within a factor of two except for short ones.

    A group is split by the length of what precedes its segments, where that saves enough padding.
    """
    groups: dict[int, list[Segment]] = {}
    for segment in segments:
        if segment.ids:
            size = max(_MIN_GROUP, len(segment.ids))
            groups.setdefault((size - 1).bit_length(), []).append(segment)
    for size in sorted(groups):
        group = sorted(groups[size], key=lambda p: p.position)
        saved = [i * (group[-1].position - p.position) for i, p in enumerate(group, 1)]
        most = max(saved)
        cut = saved.index(most) + 1 if most > _CALL_COST else 0
        yield from (part for part in (group[:cut], group[cut:]) if part)


def _attention_call(segments: Sequence[Segment], device: torch.device | None) -> AttentionCall:
    width = max(len(p.ids) for p in segments)
    rows = [p.token_indices for p in segments]
    first, last = segments[0].start, segments[-1].start + len(segments[-1].ids)
    queries = [[*range(p.start - first, p.start - first + len(p.ids))] for p in segments]
    before = tuple(len(r) - len(p.ids) for r, p in zip(rows, segments, strict=True))
    back = [n * width + i for n, p in enumerate(segments) for i in range(len(p.ids))]
    call = AttentionCall(
        first,
        last,
        _table(queries, width, device),
        _table(rows, max(map(len, rows)), device),
        before[:1] if len(set(before)) == 1 else before,
        torch.tensor(back, device=device),
    )
    # Made once for all layers where it is small, or fits in one block of rows.
    if call.scores <= SMALL_SCORES or (not call.causal and call.block_rows() == width):
        call = replace(call, mask=call.bias(0, width))
    return call


def _table(rows: Sequence[Sequence[int]], width: int, device: torch.device | None) -> Tensor:
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
