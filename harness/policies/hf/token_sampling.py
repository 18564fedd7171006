"""Samples the next token of every row of a batch, by its own noise, settings and constraint.

Noise is keyed by each request's seed: one uniform number a token.
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
from harness.policies.chat.text_encoding import Ids
from harness.policies.hf.constrained_decoding import TokenConstraint
from harness.policies.hf.conversation_cache import CachedConversation
from harness.policies.hf.decoder import M

_BLOCK = 128  # tokens; probabilities are summed by block before single tokens are searched
_SMALL_VOCABULARY = 1024  # tokens; smaller vocabularies are searched without blocks
_RANKED = 512  # tokens ranked at first; only a flat distribution needs the whole vocabulary


def uniforms(seed: int) -> Iterator[float]:
    """The noise of a request: one number in [0, 1) a token."""
    # Drawn by the block to save calls; the numbers are those of single draws.
    source = np.random.Generator(np.random.Philox(seed))
    while True:
        yield from source.random(64).tolist()


@dataclass(slots=True)
class SequenceState(Generic[M]):
    """One completion in progress; `noise` yields its uniform numbers.

    Of the prompt, `cached` holds what earlier turns processed; otherwise `system_prefix` may be
    shared.
    """

    request: Request
    prompt: Ids
    system_prefix: Ids
    limit: int
    noise: Iterator[float]
    cached: CachedConversation[M] | None = None
    constraint: TokenConstraint | None = None
    sampled: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that earlier turns have processed."""
        return len(self.cached.ids) if self.cached is not None else 0

    @property
    def prefix_tokens(self) -> int:
        """Prompt tokens that need not be processed with it."""
        return len(self.system_prefix if self.cached is None else self.cached.ids)


def nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the most likely tokens that reach top_p [row, 1] together; ties are kept."""
    ranked = probabilities.topk(min(_RANKED, probabilities.shape[-1])).values
    if not bool((ranked.sum(-1, keepdim=True) >= top_p).all()):
        ranked = probabilities.sort(-1, descending=True).values
    # The mass before each token: the one that crosses top_p still belongs to the nucleus. 2.0 is
    # above every probability, so a token that is left out never is the least.
    before = ranked.cumsum(-1) - ranked
    least = ranked.masked_fill(before >= top_p, 2.0).min(-1, keepdim=True).values
    return torch.where(probabilities >= least, probabilities, 0.0)


def _invert_cdf(weights: Tensor, uniform: Tensor) -> Tensor:
    """The token [row, 1] where the CDF of weights [row, vocabulary] passes `uniform` [row, 1]."""
    if weights.shape[1] <= _SMALL_VOCABULARY:
        # Beside a sum near 1, float32 would lose the probabilities of unlikely tokens.
        ends = weights.cumsum(-1, dtype=torch.float64)
        return _first_beyond(ends, _strictly_below(uniform * ends[:, -1:], ends[:, -1:]))
    return _invert_cdf_by_block(weights, uniform)


def _invert_cdf_by_block(weights: Tensor, uniform: Tensor) -> Tensor:
    """The same for large vocabularies, in two steps.

    First by the cumulative distribution over blocks of neighbouring tokens, whose sums are as exact
    as the weights and are added up in float64; then over the tokens of the chosen block.
    """
    size, width = weights.shape[1], _BLOCK
    whole = size - size % width
    sums = weights[:, :whole].view(len(weights), -1, width).sum(-1)
    if whole < size:
        sums = torch.cat([sums, weights[:, whole:].sum(-1, keepdim=True)], 1)
    ends = sums.cumsum(-1, dtype=torch.float64)
    point = _strictly_below(uniform * ends[:, -1:], ends[:, -1:])
    first = width * _first_beyond(ends, point)
    # The last block may be short: it is extended to the left, with zeros.
    tokens = first.clamp(max=size - width) + torch.arange(width, device=weights.device)
    inside = weights.gather(1, tokens).double().masked_fill_(tokens < first, 0.0).cumsum(-1)
    # The two sums round differently, so their difference can fall just below zero.
    before = (ends.gather(1, first // width) - inside[:, -1:]).clamp(min=0)
    within = _strictly_below((point - before).clamp(min=0), inside[:, -1:])
    return tokens.gather(1, _first_beyond(inside, within))


def _first_beyond(ends: Tensor, point: Tensor) -> Tensor:
    """The first column [row, 1] whose end [row, column] lies beyond a point [row, 1]."""
    # `right`: a point on an end belongs to what follows, so a column of weight 0 is never drawn.
    return torch.searchsorted(ends, point, right=True).clamp(max=ends.shape[-1] - 1)


def _strictly_below(point: Tensor, total: Tensor) -> Tensor:
    """Clamp a point that rounding has lifted to the total, which is past the last token."""
    return torch.minimum(point, torch.nextafter(total, torch.zeros_like(total)))


def _constrain(
    values: Tensor, weights: Tensor, rows: Sequence[SequenceState[M]], constrained: list[int]
) -> tuple[Tensor, Tensor]:
    """Remove what the constraints of these rows forbid from logits and probabilities.

    Every other row keeps its numbers to the last bit.
    """
    allowed = [
        row.constraint.allowed(row.limit - len(row.sampled))
        for row in (rows[i] for i in constrained)
        if row.constraint is not None
    ]
    mask = torch.from_numpy(np.stack(allowed)).to(values.device)
    # Renormalised from logits: the probabilities of all that is allowed may round to zero.
    chosen = values[constrained].masked_fill(~mask, float("-inf"))
    # Copied, because the caller still needs the policy's own numbers.
    values, weights = values.clone(), weights.clone()
    values[constrained], weights[constrained] = chosen, chosen.softmax(-1)
    return values, weights


def sample_tokens(
    logits: Tensor, rows: Sequence[SequenceState[M]]
) -> tuple[list[int], list[float]]:
    """Sample one token per row from logits [row, vocabulary], with its log-probability.

    Temperature 0 takes the most likely token; its log-probability is then that at temperature 1. A
    constrained row samples among the tokens that its constraint allows. Its log-probability is, as
    under top_p, the policy's own, over the whole vocabulary.

    Raises:
        ModelError: The logits are not finite.
    """
    # Apple's GPUs have no float64.
    values = logits.float() if logits.device.type != "mps" else logits.float().cpu()

    def column(numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64, device=values.device)[:, None]

    settings = [row.request.sampling for row in rows]
    if any(s.temperature not in (0, 1) for s in settings):
        values = values / column([s.temperature or 1.0 for s in settings]).float()
    probabilities = torch.softmax(values, -1)
    weights = probabilities
    unconstrained, constrained = (
        values,
        [i for i, row in enumerate(rows) if row.constraint is not None],
    )
    if constrained:
        values, weights = _constrain(values, weights, rows, constrained)
    if any(s.top_p < 1 for s in settings):
        weights = nucleus(weights.double(), column([s.top_p for s in settings]))
    # Greedy rows draw a number too: it is one a token, whatever the settings.
    chosen = _invert_cdf(weights, column([next(row.noise) for row in rows]))
    if any(s.temperature == 0 for s in settings):
        greedy = column([float(s.temperature == 0) for s in settings]) > 0
        chosen = torch.where(greedy, values.argmax(-1, keepdim=True), chosen)
    chosen = chosen.clamp(max=values.shape[-1] - 1)
    logprobs = probabilities.gather(1, chosen)[:, 0].log()
    if constrained:  # a forced token may be too unlikely for a probability in float32
        logits_of = unconstrained[constrained]
        logprobs[constrained] = logits_of.gather(1, chosen[constrained])[
            :, 0
        ] - logits_of.logsumexp(-1)
    found = logprobs.tolist()
    if not np.isfinite(found).all():
        raise ModelError(
            "The model's outputs are not finite numbers: load it with dtype float32, or continue "
            "from an earlier checkpoint with a lower learning rate."
        )
    return chosen[:, 0].tolist(), found
