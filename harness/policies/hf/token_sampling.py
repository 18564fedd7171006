"""Drawing the next token of every row of a batch, each with its own noise, settings and form.

Noise is keyed by each request's seed, one uniform number a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic

import numpy as np
import torch
from torch import Tensor

from harness.errors import ModelError
from harness.policies.base import Request
from harness.policies.chat.rendering import Ids
from harness.policies.hf.constrained_decoding import TokenConstraint
from harness.policies.hf.conversation_cache import CachedConversation
from harness.policies.hf.decoder import M

_BLOCK = 128  # neighbouring tokens whose probabilities are summed before any is looked at alone
_SMALL = 1024  # tokens of a vocabulary of which each is looked at
_NUCLEUS = 512  # tokens ranked at first; only a flatter distribution ranks its whole vocabulary


def uniforms(seed: int) -> Iterator[float]:
    """A request's noise: one number in [0, 1) a token."""
    source = np.random.Generator(np.random.Philox(seed))
    while True:
        yield from source.random(64).tolist()


@dataclass(slots=True)
class SequenceState(Generic[M]):
    """One reply on its way; `noise` gives its uniform numbers.

    Of the prompt, `kept` has been read in earlier turns, or else `head` may be shared.
    """

    request: Request
    prompt: Ids
    head: Ids
    limit: int
    noise: Iterator[float]
    kept: CachedConversation[M] | None = None
    form: TokenConstraint | None = None
    sampled: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def earlier(self) -> int:
        """How many tokens of the prompt were read in earlier turns."""
        return len(self.kept.ids) if self.kept is not None else 0

    @property
    def start(self) -> int:
        """How many tokens of the prompt need not be read with it."""
        return len(self.head if self.kept is None else self.kept.ids)


def nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the likeliest tokens that together reach top_p [row, 1]; ties stay together."""
    ranked = probabilities.topk(min(_NUCLEUS, probabilities.shape[-1])).values
    if not bool((ranked.sum(-1, keepdim=True) >= top_p).all()):
        ranked = probabilities.sort(-1, descending=True).values
    before = ranked.cumsum(-1) - ranked
    least = ranked.masked_fill(before >= top_p, 2.0).min(-1, keepdim=True).values
    return torch.where(probabilities >= least, probabilities, 0.0)


def _pointed(weights: Tensor, uniform: Tensor) -> Tensor:
    """The token [row, 1] at `uniform` [row, 1] of the way through weights [row, vocabulary]."""
    if weights.shape[1] <= _SMALL:
        ends = weights.cumsum(-1, dtype=torch.float64)
        return _hit(ends, _below(uniform * ends[:, -1:], ends[:, -1:]))
    return _pointed_by_block(weights, uniform)


def _pointed_by_block(weights: Tensor, uniform: Tensor) -> Tensor:
    """The same for more than a block: by the inverse of the cumulative distribution over blocks of
    neighbouring tokens, whose sums are as exact as the weights and are added up in float64, then
    over the tokens of the block that was hit.
    """
    size, width = weights.shape[1], _BLOCK
    whole = size - size % width
    sums = weights[:, :whole].view(len(weights), -1, width).sum(-1)
    if whole < size:
        sums = torch.cat([sums, weights[:, whole:].sum(-1, keepdim=True)], 1)
    ends = sums.cumsum(-1, dtype=torch.float64)
    point = _below(uniform * ends[:, -1:], ends[:, -1:])
    first = width * _hit(ends, point)
    # The last block may be short: it is looked at with the end of the one before it, as zeros.
    tokens = first.clamp(max=size - width) + torch.arange(width, device=weights.device)
    inside = weights.gather(1, tokens).double().masked_fill_(tokens < first, 0.0).cumsum(-1)
    before = (ends.gather(1, first // width) - inside[:, -1:]).clamp(min=0)
    within = _below((point - before).clamp(min=0), inside[:, -1:])
    return tokens.gather(1, _hit(inside, within))


def _hit(ends: Tensor, point: Tensor) -> Tensor:
    """The first column [row, 1] whose end [row, column] lies beyond a point [row, 1]."""
    return torch.searchsorted(ends, point, right=True).clamp(max=ends.shape[-1] - 1)


def _below(point: Tensor, total: Tensor) -> Tensor:
    """Rounding may lift a point up to the total, which is past the last possible token."""
    return torch.minimum(point, torch.nextafter(total, torch.zeros_like(total)))


def _held(
    values: Tensor, weights: Tensor, rows: Sequence[SequenceState[M]], held: list[int]
) -> tuple[Tensor, Tensor]:
    """Logits and probabilities with what the forms of the rows `held` forbid taken out of them.

    Every other row keeps its numbers to the last bit.
    """
    allowed = [
        row.form.allowed(row.limit - len(row.sampled))
        for row in (rows[i] for i in held)
        if row.form is not None
    ]
    mask = torch.from_numpy(np.stack(allowed)).to(values.device)
    chosen = values[held].masked_fill(~mask, float("-inf"))
    values, weights = values.clone(), weights.clone()
    values[held], weights[held] = chosen, chosen.softmax(-1)
    return values, weights


def sample_tokens(
    logits: Tensor, rows: Sequence[SequenceState[M]]
) -> tuple[list[int], list[float]]:
    """One token per row from logits [row, vocabulary], and its log-probability.

    Temperature 0 takes the likeliest token; its log-probability is then that at temperature 1.
    A row with a form draws among the tokens that its form allows. Its log-probability is, as under
    top_p, the policy's own, over the whole vocabulary.
    """
    # Apple's GPUs know no float64.
    values = logits.float() if logits.device.type != "mps" else logits.float().cpu()

    def column(numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64, device=values.device)[:, None]

    settings = [row.request.sampling for row in rows]
    if any(s.temperature not in (0, 1) for s in settings):
        values = values / column([s.temperature or 1.0 for s in settings]).float()
    probabilities = torch.softmax(values, -1)
    weights = probabilities
    plain, held = values, [i for i, row in enumerate(rows) if row.form is not None]
    if held:
        values, weights = _held(values, weights, rows, held)
    if any(s.top_p < 1 for s in settings):
        weights = nucleus(weights.double(), column([s.top_p for s in settings]))
    chosen = _pointed(weights, column([next(row.noise) for row in rows]))
    if any(s.temperature == 0 for s in settings):
        greedy = column([float(s.temperature == 0) for s in settings]) > 0
        chosen = torch.where(greedy, values.argmax(-1, keepdim=True), chosen)
    chosen = chosen.clamp(max=values.shape[-1] - 1)
    logprobs = probabilities.gather(1, chosen)[:, 0].log()
    if held:  # what a form makes a row say may be too unlikely for a probability
        said = plain[held]
        logprobs[held] = said.gather(1, chosen[held])[:, 0] - said.logsumexp(-1)
    found = logprobs.tolist()
    if not np.isfinite(found).all():
        raise ModelError(
            "The model's outputs are not finite numbers: load it with dtype float32, or continue "
            "from an earlier checkpoint with a lower learning rate."
        )
    return chosen[:, 0].tolist(), found
