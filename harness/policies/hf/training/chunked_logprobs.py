"""Log-probabilities of sampled tokens from hidden states, without keeping logits.

One autograd function computes logits in chunks of places. It keeps the hidden states and one
log-sum-exp per sampled token; the backward pass computes the logits of each chunk again. Memory is
bounded by one chunk, whatever the number of tokens and the size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from harness.policies.base import Sample
from harness.policies.hf.activation_memory import LOGITS_CHUNK_BYTES
from harness.policies.hf.token_sampling import nucleus

_NUCLEUS_COST = 8  # times a row's logits that ranking its tokens takes, in float64 with indices


@dataclass(frozen=True, slots=True)
class Head:
    """A model's output layer: hidden state h ↦ softcap(scale · (weight h + bias)).

    Without a weight the hidden states are the logits themselves.
    """

    weight: Tensor | None
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [place, vocabulary] in float32, in memory of their own."""
        logits = self._product(hidden)
        if self.scale != 1:
            logits.mul_(self.scale)
        if self.softcap is not None:
            logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits

    def _product(self, hidden: Tensor) -> Tensor:
        if self.weight is None:
            return hidden.to(torch.float32, copy=True)
        # These devices can write a product of bfloat16 matrices in float32, without casting either.
        if self.weight.dtype != torch.float32 and self.weight.device.type in ("cuda", "meta"):
            product = torch.mm(hidden, self.weight.t(), out_dtype=torch.float32)
            return product if self.bias is None else product.add_(self.bias)
        return F.linear(hidden, self.weight, self.bias).float()

    def before_softcap(self, grad: Tensor, logits: Tensor) -> Tensor:
        """The gradient of weight h + bias, from that of the logits; changes both in place."""
        if self.softcap is not None:
            slope = logits.div_(self.softcap).square_().neg_().add_(1)
            grad.mul_(slope)
        return grad if self.scale == 1 else grad.mul_(self.scale)


@dataclass(frozen=True, slots=True)
class CompletionStates:
    """A forward pass's result: what the log-probabilities of sampled tokens are computed from.

    `hidden` [place, channel] are the final states at the places whose logits are needed. `places`
    [sampled token], on the CPU, has the place of each sampled token's logits, completion after
    completion; one place may serve several completions.
    """

    hidden: Tensor
    places: Tensor
    head: Head


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Places `first` to `last`, and the sampled tokens there.

    `rows` [token] are places counted from `first`; `targets` are the sampled ids. `cells` are the
    different logits of sampled tokens, as flat indices, and `cell_of` [token] the cell of each.
    """

    first: int
    last: int
    tokens: slice
    rows: Tensor
    targets: Tensor
    cells: Tensor
    cell_of: Tensor
    temperatures: Sequence[float]
    top_ps: Sequence[float]

    def at_temperatures(self) -> Iterator[tuple[float, Tensor]]:
        """Each temperature, and the indices of its tokens.

        By temperature, so that a place's logits are summed once for all tokens that share it.
        """
        for temperature in sorted(set(self.temperatures)):
            found = [i for i, t in enumerate(self.temperatures) if t == temperature]
            yield temperature, torch.tensor(found, device=self.rows.device)

    def has_nucleus(self) -> Tensor:
        """1 for tokens under top_p < 1, else 0."""
        return torch.tensor([float(p < 1) for p in self.top_ps], device=self.rows.device)

    def nuclei(self, size: int) -> Iterator[tuple[float, float, Tensor]]:
        """Temperature, top_p and indices of tokens under top_p < 1, at most `size` at once."""
        settings = list(zip(self.temperatures, self.top_ps, strict=True))
        for temperature, top_p in sorted(set(settings)):
            found = [i for i, s in enumerate(settings) if s == (temperature, top_p)]
            for at in range(0, len(found) if top_p < 1 else 0, size):
                part = torch.tensor(found[at : at + size], device=self.rows.device)
                yield temperature, top_p, part


@dataclass(frozen=True, slots=True)
class _Plan:
    """Sampled tokens in the order of their places, and their division into chunks."""

    order: Tensor
    chunks: list[_Chunk]
    nucleus_rows: int
    top_p: bool

    @staticmethod
    def of(batch: Sequence[Sample], states: CompletionStates, chunk_bytes: int) -> _Plan:
        """Plan the chunks of a batch's sampled tokens."""
        device, weight = states.hidden.device, states.head.weight
        vocabulary = len(weight) if weight is not None else states.hidden.shape[1]
        rows = max(1, chunk_bytes // (4 * vocabulary))
        places, order = torch.sort(states.places, stable=True)
        targets = torch.tensor([i for s in batch for i in s.sampled])[order]
        settings = [(s.temperature or 1.0, s.top_p) for s in batch for _ in s.sampled]
        settings = [settings[i] for i in order.tolist()]
        starts = [*range(0, len(states.hidden), rows), len(states.hidden)]
        ends = torch.searchsorted(places, torch.tensor(starts)).tolist()
        chunks = []
        for (first, last), (begin, end) in zip(pairwise(starts), pairwise(ends), strict=True):
            here, sampled = places[begin:end] - first, targets[begin:end]
            cells, cell_of = torch.unique(here * vocabulary + sampled, return_inverse=True)
            chunks.append(
                _Chunk(
                    first,
                    last,
                    slice(begin, end),
                    here.to(device),
                    sampled.to(device),
                    cells.to(device),
                    cell_of.to(device),
                    [temperature for temperature, _ in settings[begin:end]],
                    [top_p for _, top_p in settings[begin:end]],
                )
            )
        return _Plan(order, chunks, max(1, rows // _NUCLEUS_COST), any(p < 1 for _, p in settings))


class _Logprobs(Function):
    """Hidden states ↦ log-probabilities and log nucleus masses [token], in the plan's order."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        head: Head,
        plan: _Plan,
    ) -> tuple[Tensor, Tensor | None]:
        chosen, sums = (
            torch.empty(len(plan.order), dtype=torch.float32, device=hidden.device)
            for _ in range(2)
        )
        masses = torch.zeros_like(chosen) if plan.top_p else None
        for chunk in plan.chunks:
            logits = head.logits(hidden[chunk.first : chunk.last])
            at = chunk.tokens
            if masses is not None:
                for temperature, top_p, part in chunk.nuclei(plan.nucleus_rows):
                    scaled = logits.index_select(0, chunk.rows[part]) / temperature
                    inside = log_nucleus_mass(scaled, chunk.targets[part], top_p)
                    masses[at].index_copy_(0, part, inside)
            chosen[at], sums[at] = _chunk_logprobs(logits, chunk)
        ctx.save_for_backward(hidden, weight, bias, sums)
        ctx.head, ctx.plan = head, plan
        return chosen, masses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, sums = ctx.saved_tensors
        grad_chosen, grad_mass = grads[0], grads[1]
        assert grad_chosen is not None
        into = _Gradients(ctx.needs_input_grad, hidden, weight, bias)
        for chunk in ctx.plan.chunks:
            here = hidden[chunk.first : chunk.last]
            logits = ctx.head.logits(here)
            mass = None
            if grad_mass is not None and ctx.plan.top_p:
                # Without a nucleus the mass is constant.
                mass = grad_mass[chunk.tokens] * chunk.has_nucleus()
            grad = _chunk_gradient(
                logits, chunk, sums[chunk.tokens], grad_chosen[chunk.tokens], mass, ctx
            )
            into.add(chunk, here, grad)
        return into.hidden, into.weight, into.bias, None, None


_logprobs: Any = _Logprobs.apply  # which has no types


class _Gradients:
    """Gradients of hidden states, weight and bias, as far as they are needed."""

    def __init__(
        self,
        needs: Sequence[bool],
        hidden: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> None:
        self._head_weight = weight
        self.hidden = torch.empty_like(hidden) if needs[0] else None
        self.weight = torch.zeros_like(weight) if weight is not None and needs[1] else None
        self.bias = torch.zeros_like(bias) if bias is not None and needs[2] else None

    def add(self, chunk: _Chunk, hidden: Tensor, grad: Tensor) -> None:
        """Take in a chunk's gradient [place, vocabulary] of weight · hidden + bias."""
        grad = grad.to(hidden.dtype)
        if self.hidden is not None:
            into = self.hidden[chunk.first : chunk.last]
            if self._head_weight is None:
                into.copy_(grad)
            else:
                torch.mm(grad, self._head_weight, out=into)
        if self.weight is not None:
            self.weight.addmm_(grad.t(), hidden)
        if self.bias is not None:
            self.bias.add_(grad.sum(0))


def _chunk_logprobs(logits: Tensor, chunk: _Chunk) -> tuple[Tensor, Tensor]:
    """Log-probabilities and log-sum-exps [token] of a chunk. The logits are overwritten."""
    targets = logits.flatten().index_select(0, chunk.rows * logits.shape[1] + chunk.targets)
    chosen, sums = torch.empty_like(targets), torch.empty_like(targets)
    temperatures = list(chunk.at_temperatures())
    for i, (temperature, tokens) in enumerate(temperatures):
        scaled = logits
        if temperature != 1:
            last = i + 1 == len(temperatures)
            scaled = logits.div_(temperature) if last else logits / temperature
        total = scaled.logsumexp(-1).index_select(0, chunk.rows[tokens])
        chosen.index_copy_(0, tokens, targets[tokens] / temperature - total)
        sums.index_copy_(0, tokens, total)
    return chosen, sums


def _chunk_gradient(
    logits: Tensor, chunk: _Chunk, sums: Tensor, grad: Tensor, grad_mass: Tensor | None, ctx: Any
) -> Tensor:
    """The gradient [place, vocabulary] of weight · hidden + bias. The logits are overwritten."""
    head: Head = ctx.head
    falling = grad if grad_mass is None else grad + grad_mass
    temperatures = list(chunk.at_temperatures())
    # The last use of the logits may overwrite them, which saves as much memory again.
    keeps = head.softcap is not None or grad_mass is not None
    found: Tensor | None = None
    for i, (temperature, tokens) in enumerate(temperatures):
        weights, totals = logits.new_zeros(len(logits)), logits.new_full((len(logits),), torch.inf)
        rows = chunk.rows[tokens]
        _add_at(weights, rows, falling[tokens] / temperature)
        # Tokens at one place and temperature have equal sums; exp is 0 where there is no token.
        totals.index_copy_(0, rows, sums[tokens])
        part = logits.clone() if keeps or i + 1 < len(temperatures) else logits
        if temperature != 1:
            part.div_(temperature)
        part.sub_(totals[:, None]).exp_().mul_(weights.neg_()[:, None])
        found = part if found is None else found.add_(part)
    result = torch.zeros_like(logits) if found is None else found
    if grad_mass is not None:
        for temperature, top_p, tokens in chunk.nuclei(ctx.plan.nucleus_rows):
            rows = chunk.rows[tokens]
            scaled = logits.index_select(0, rows) / temperature
            outside = ~_nucleus_mask(scaled, chunk.targets[tokens], top_p)
            inside = scaled.masked_fill_(outside, -torch.inf).softmax(-1)
            _add_at(result, rows, inside.mul_((grad_mass[tokens] / temperature)[:, None]))
    # Summed by cell first, so that adding to the large tensor meets no index twice.
    rising = grad.new_zeros(len(chunk.cells))
    _add_at(rising, chunk.cell_of, grad / torch.tensor(chunk.temperatures, device=grad.device))
    result.view(-1).index_add_(0, chunk.cells, rising)
    return head.before_softcap(result, logits)


def _add_at(into: Tensor, index: Tensor, values: Tensor) -> None:
    """Add values at indices of the first dimension, which may repeat, in a fixed order."""
    # Each device has one of the two that sums repeated indices in a fixed order.
    if into.device.type == "cuda":
        into.index_put_((index,), values, accumulate=True)
    else:
        into.index_add_(0, index, values)


def _nucleus_mask(logits: Tensor, targets: Tensor, top_p: float) -> Tensor:
    """True on the nucleus of logits [token, vocabulary] and on the drawn token.

    The drawn token belongs to it, whatever rounding says.
    """
    probabilities = logits.double().softmax(-1)
    kept = nucleus(probabilities, torch.full_like(probabilities[:, :1], top_p)) > 0
    return kept.scatter_(1, targets[:, None], True)


def log_nucleus_mass(logits: Tensor, targets: Tensor, top_p: float) -> Tensor:
    """Log of the summed probability [token] of the nucleus in logits [token, vocabulary].

    Which tokens belong to the nucleus has no gradient.
    """
    if top_p == 1:
        return logits.new_zeros(len(logits))
    with torch.no_grad():
        kept = _nucleus_mask(logits, targets, top_p)
    return logits.masked_fill(~kept, float("-inf")).logsumexp(-1) - logits.logsumexp(-1)


def sampled_logprobs(
    batch: Sequence[Sample], states: CompletionStates, chunk_bytes: int = LOGITS_CHUNK_BYTES
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities [sampled token] at each sample's temperature, completion after completion.

    They are over the whole vocabulary. The second result is the log of the nucleus's mass; None
    where top_p = 1 throughout. One chunk's logits take at most `chunk_bytes`, but hold one place.
    """
    head = states.head
    plan = _Plan.of(batch, states, chunk_bytes)
    chosen, masses = _logprobs(states.hidden, head.weight, head.bias, head, plan)
    # Back from the order of places; a permutation, so that the gradient needs no sums.
    back = torch.argsort(plan.order).to(chosen.device)
    return chosen[back], None if masses is None else masses[back]
