"""Gradient steps on sampled completions: micro-batches, log-probabilities, clipping.

Completions of one prompt share one pass over it, with gradients: a group of N then costs one prompt
instead of N. The division into micro-batches changes nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from harness.errors import NotFinite
from harness.policies.base import BatchSize, Loss, Sample, Step, TokenBatch
from harness.policies.hf.allocator import large_blocks_returned
from harness.policies.hf.lora import LoraAdapter
from harness.policies.hf.training.chunked_logprobs import CompletionStates, sampled_logprobs


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
    packed: bool
    """True for the packed pass, which keeps less for the backward pass than transformers' own."""

    @property
    def can_checkpoint(self) -> bool:
        """True where the model has layers that can be computed again."""
        ...

    def micro_batches(
        self, samples: Sequence[Sample], tokens: int, checkpointing: bool
    ) -> list[list[Sample]]:
        """Divide samples into batches of which each processes at most `tokens` tokens at once.

        A sample with more tokens is a batch of its own.
        """
        ...

    def piece_tokens(self, batch: Sequence[Sample], checkpointing: bool) -> int:
        """The number of tokens that a batch processes at once."""
        ...

    def completion_states(self, batch: Sequence[Sample], checkpointing: bool) -> CompletionStates:
        """The final hidden states from which sampled tokens are predicted.

        With `checkpointing`, the backward pass computes each layer again instead of keeping what it
        needs of it. Equal prompts are neighbours in the batch.
        """
        ...


def logprobs(forward: TrainForward, batch: Sequence[Sample], checkpointing: bool = False) -> Tensor:
    """Log-probabilities [sequence, token] of the sampled tokens at each sample's temperature.

    With top_p < 1 they are renormalised over the nucleus, as the sampler drew them.
    """
    full, mass = _completion_logprobs(forward, batch, checkpointing)
    return full if mass is None else full - mass


def _completion_logprobs(
    forward: TrainForward, batch: Sequence[Sample], checkpointing: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities over the whole vocabulary, and the log of the nucleus's mass.

    Both are [sequence, token], 0 beyond a completion's end. The mass is None where top_p = 1
    throughout.
    """
    lengths = [len(s.sampled) for s in batch]
    chosen, masses = sampled_logprobs(batch, forward.completion_states(batch, checkpointing))

    def in_rows(flat: Tensor) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(torch.split(flat, lengths)), batch_first=True)

    return in_rows(chosen), None if masses is None else in_rows(masses)


class Trainer:
    """Takes gradient steps on an adapter."""

    def __init__(
        self,
        forward: TrainForward,
        adapter: LoraAdapter,
        micro_batch_tokens: int,
        needs_checkpointing: Callable[[int], bool],
    ) -> None:
        """`needs_checkpointing` decides from the tokens of an update's largest batch."""
        self._forward = forward
        self._adapter = adapter
        self._tokens = micro_batch_tokens
        self._needs_checkpointing = needs_checkpointing

    def step(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Take one step; see `TrainablePolicy.update`. A sample without tokens counts in the mean.

        Raises:
            NotFinite: Loss or gradient is not; the weights are unchanged.
        """
        size = BatchSize(len(samples), sum(len(s.sampled) for s in samples))
        sampled = [s for s in samples if s.sampled]
        totals = UpdateTotals()
        # None instead of zeros: AdamW then skips a parameter that no pass reached.
        self._adapter.optimizer.zero_grad(set_to_none=True)
        try:
            checkpointing, batches = self._micro_batches(sampled)
            # Costs time, as checkpointing does, and like it pays where memory is short.
            with large_blocks_returned() if checkpointing else nullcontext():
                for batch in batches:
                    self._accumulate(batch, checkpointing, size, loss, step, totals)
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

    def _micro_batches(self, samples: Sequence[Sample]) -> tuple[bool, list[list[Sample]]]:
        """The batches of an update, and the decision on checkpointing."""
        batches = self._forward.micro_batches(samples, self._tokens, checkpointing=False)
        most = max((self._forward.piece_tokens(b, False) for b in batches), default=0)
        if not self._needs_checkpointing(most):
            return False, batches
        return True, self._forward.micro_batches(samples, self._tokens, checkpointing=True)

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Log-probabilities [T] of each sample, as the next step would compute them."""
        # By identity, because micro-batches have another order than the samples.
        found: dict[int, tuple[float, ...]] = {}
        sampled = [s for s in samples if s.sampled]
        with torch.no_grad(), self._adapter.switched(on=True):
            for batch in self._forward.micro_batches(sampled, self._tokens, checkpointing=False):
                for sample, row in zip(batch, logprobs(self._forward, batch), strict=True):
                    found[id(sample)] = tuple(row[: len(sample.sampled)].tolist())
        return [found.get(id(sample), ()) for sample in samples]

    def _accumulate(
        self,
        batch: list[Sample],
        checkpointing: bool,
        size: BatchSize,
        loss: Loss,
        step: Step,
        totals: UpdateTotals,
    ) -> None:
        device, width = self._forward.device, max(len(s.sampled) for s in batch)
        reference = None
        if step.reference:
            with torch.no_grad(), self._adapter.switched(on=False):
                reference = logprobs(self._forward, batch, checkpointing)
        old = _padded([s.logprobs for s in batch], width, device)
        mask = _padded([[1.0] * len(s.sampled) for s in batch], width, device)
        advantage = torch.tensor([[s.advantage] for s in batch], device=device)
        # Also for the backward pass, which computes checkpointed layers again.
        with self._adapter.switched(on=True):
            new, mass = _completion_logprobs(self._forward, batch, checkpointing)
            if mass is not None:
                # The sampler records log-probabilities over the whole vocabulary. Its weights are
                # those before this step, so the nucleus had the same mass then.
                new, old = new - mass, old - mass.detach()
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
        for what, value in (("loss", totals.loss), ("gradient norm", norm)):
            if not math.isfinite(value):
                raise NotFinite(f"the {what} of the update ({value})")
        # Set at every step, because a checkpoint holds the optimizer's tensors alone.
        for group in self._adapter.optimizer.param_groups:
            group["lr"] = step.learning_rate
            group["betas"] = (step.beta1, step.beta2)
        self._adapter.optimizer.step()
        return norm
