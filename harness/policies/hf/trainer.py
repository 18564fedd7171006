"""Gradient steps on sampled completions: micro-batches, log-probabilities, clipping.

Completions of one prompt share one pass over it, with gradients: a group of N then costs one prompt
instead of N. The division into micro-batches changes nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from harness.errors import ModelError
from harness.policies.base import BatchSize, Loss, Sample, Step, TokenBatch
from harness.policies.hf.batching import micro_batches, split_by_length, tree_batches
from harness.policies.hf.lora import LoraAdapter
from harness.policies.hf.token_sampling import nucleus

_MAX_LOGITS = 2**28  # numbers in one pass's logits: 1 GiB in float32, without the gradient


@dataclass(slots=True)
class UpdateTotals:
    """Sums over an update's micro-batches: loss, |new − old| and the largest ratio."""

    loss: float = 0.0
    gap: float = 0.0
    ratio_max: float = 0.0


def _padded(rows: Sequence[Sequence[float]], width: int, device: torch.device) -> Tensor:
    return torch.tensor([[*row] + [0.0] * (width - len(row)) for row in rows], device=device)


class TrainForward(Protocol):
    """A forward pass with gradients: transformers' own, or `fast_llama`'s packed one."""

    device: torch.device
    vocabulary: int
    padded: bool
    """True where long completions make short ones in the same micro-batch cost as much."""

    def completion_logits(self, batch: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """Logits [place, vocabulary], and the place [sampled token] of each sampled token's logits.

        Sampled tokens are in order, completion after completion; one place may serve several
        completions. Equal prompts are neighbours in the batch.
        """
        ...


def logprobs(forward: TrainForward, batch: Sequence[Sample]) -> Tensor:
    """Log-probabilities [sequence, token] of the sampled tokens at each sample's temperature.

    With top_p < 1 they are renormalised over the nucleus, as the sampler drew them.
    """
    full, mass = _completion_logprobs(forward, batch)
    return full if mass is None else full - mass


def _completion_logprobs(
    forward: TrainForward, batch: Sequence[Sample]
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities over the whole vocabulary, and the log of the nucleus's mass.

    Both are [sequence, token], 0 beyond a completion's end. The mass is None where top_p = 1
    throughout.
    """
    device, lengths = forward.device, [len(s.sampled) for s in batch]
    logits, places = forward.completion_logits(batch)
    logits = logits.float()
    temperatures = torch.tensor([s.temperature or 1.0 for s in batch for _ in s.sampled])
    targets = torch.tensor([i for s in batch for i in s.sampled], device=device)
    target_logits = logits.flatten().index_select(0, places * logits.shape[1] + targets)
    chosen = torch.zeros_like(target_logits)
    # By temperature, so that a place's logits are summed once for all completions that share it.
    for temperature in sorted(set(temperatures.tolist())):
        scaled = logits / temperature if temperature != 1 else logits
        at_temperature = (temperatures == temperature).to(device)
        total = scaled.logsumexp(-1).index_select(0, places)
        chosen = torch.where(at_temperature, target_logits / temperature - total, chosen)

    def in_rows(flat: Tensor) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(torch.split(flat, lengths)), batch_first=True)

    if all(s.top_p == 1 for s in batch):
        return in_rows(chosen), None
    # One reply at a time: sorting a vocabulary takes several times the room of its logits.
    masses = [
        _log_nucleus_mass(logits[at] / (s.temperature or 1.0), each, s.top_p)
        for at, each, s in zip(
            torch.split(places, lengths), torch.split(targets, lengths), batch, strict=True
        )
    ]
    return in_rows(chosen), in_rows(torch.cat(masses))


def _log_nucleus_mass(logits: Tensor, targets: Tensor, top_p: float) -> Tensor:
    """Log of the summed probability [token] of the nucleus in logits [token, vocabulary].

    The drawn token belongs to it, whatever rounding says. Which tokens belong has no gradient.
    """
    if top_p == 1:
        return logits.new_zeros(len(logits))
    with torch.no_grad():
        probabilities = logits.double().softmax(-1)
        kept = nucleus(probabilities, torch.full_like(probabilities[:, :1], top_p)) > 0
        kept.scatter_(1, targets[:, None], True)
    return logits.masked_fill(~kept, float("-inf")).logsumexp(-1) - logits.logsumexp(-1)


class Trainer:
    """Takes gradient steps on an adapter."""

    def __init__(
        self, forward: TrainForward, adapter: LoraAdapter, micro_batch_tokens: int
    ) -> None:
        self._forward = forward
        self._adapter = adapter
        self._tokens = micro_batch_tokens
        self._columns = max(1, _MAX_LOGITS // forward.vocabulary)

    def step(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Take one step; see `TrainablePolicy.update`. A sample without tokens counts in the mean.

        Raises:
            ModelError: Loss or gradient is not finite; the weights are unchanged.
        """
        size = BatchSize(len(samples), sum(len(s.sampled) for s in samples))
        sampled = [s for s in samples if s.sampled]
        totals = UpdateTotals()
        # None instead of zeros: AdamW then skips a parameter that no pass reached.
        self._adapter.optimizer.zero_grad(set_to_none=True)
        try:
            packed = [
                batch
                for part in (split_by_length(sampled) if self._forward.padded else [sampled])
                for batch in self._micro_batches(part)
            ]
            for batch in packed:
                self._accumulate(batch, size, loss, step, totals)
            norm = self._apply(step, totals)
        finally:
            # Also after an error. Gradients would only take room while completions are sampled.
            self._adapter.optimizer.zero_grad(set_to_none=True)
        return {
            "loss": totals.loss,
            "grad_norm": norm,
            "sequences": float(size.sequences),
            "tokens": float(size.tokens),
            "logprob_gap": totals.gap / size.tokens if size.tokens else 0.0,
            "ratio_max": totals.ratio_max,
        }

    def _micro_batches(self, samples: Sequence[Sample]) -> list[list[Sample]]:
        if not self._forward.padded:
            return tree_batches(samples, self._tokens, self._columns)
        return micro_batches(samples, self._tokens, self._columns)

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Log-probabilities [T] of each sample, as the next step would compute them."""
        # By identity, because micro-batches have another order than the samples.
        found: dict[int, tuple[float, ...]] = {}
        sampled = [s for s in samples if s.sampled]
        with torch.no_grad(), self._adapter.switched(on=True):
            for batch in self._micro_batches(sampled):
                for sample, row in zip(batch, logprobs(self._forward, batch), strict=True):
                    found[id(sample)] = tuple(row[: len(sample.sampled)].tolist())
        return [found.get(id(sample), ()) for sample in samples]

    def _accumulate(
        self, batch: list[Sample], size: BatchSize, loss: Loss, step: Step, totals: UpdateTotals
    ) -> None:
        device, width = self._forward.device, max(len(s.sampled) for s in batch)
        reference = None
        if step.reference:
            with torch.no_grad(), self._adapter.switched(on=False):
                reference = logprobs(self._forward, batch)
        with self._adapter.switched(on=True):
            new, mass = _completion_logprobs(self._forward, batch)
        old = _padded([s.logprobs for s in batch], width, device)
        if mass is not None:
            # The sampler records log-probabilities over the whole vocabulary. Its weights are those
            # before this step, so the nucleus had the same mass then.
            new, old = new - mass, old - mass.detach()
        mask = _padded([[1.0] * len(s.sampled) for s in batch], width, device)
        advantage = torch.tensor([[s.advantage] for s in batch], device=device)
        part = loss(TokenBatch(new, old, reference, advantage, mask), size)
        # A loss may come out constant, and `backward` refuses one without a gradient.
        if part.requires_grad:
            torch.autograd.backward(part)
        difference = (new.detach() - old)[mask > 0]
        totals.loss += float(part.detach())
        totals.gap += float(difference.abs().double().sum())
        totals.ratio_max = max(totals.ratio_max, float(difference.max().exp()))

    def _apply(self, step: Step, totals: UpdateTotals) -> float:
        parameters = [p for p in self._adapter.parameters.values() if p.grad is not None]
        norm = float(
            torch.nn.utils.clip_grad_norm_(parameters, step.max_grad_norm, foreach=False)
            if parameters
            else 0.0
        )
        if not (math.isfinite(norm) and math.isfinite(totals.loss)):
            raise ModelError(
                f"The update's loss ({totals.loss}) or gradient norm ({norm}) is not a finite "
                "number, and the weights were left as they were: check the rewards and "
                "log-probabilities, or lower the learning rate."
            )
        # Set at every step, because a checkpoint holds the optimizer's tensors alone.
        for group in self._adapter.optimizer.param_groups:
            group["lr"] = step.learning_rate
            group["betas"] = (step.beta1, step.beta2)
        self._adapter.optimizer.step()
        return norm
