"""One gradient step on sampled replies: micro-batches, log-probabilities, clipping.

Replies to the same prompt share one reading of it, with gradients: a group of N then costs one
prompt instead of N. The layout changes nothing but rounding.
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
from harness.policies.hf.batching import by_length, micro_batches, tree_batches
from harness.policies.hf.lora import LoraAdapter
from harness.policies.hf.token_sampling import nucleus

_LOGITS = 2**28  # values in one pass's logits: 1 GiB in float32, before its gradient


@dataclass(slots=True)
class UpdateTotals:
    """What is learnt about an update while it runs."""

    loss: float = 0.0
    gap: float = 0.0
    ratio_max: float = 0.0


def _padded(rows: Sequence[Sequence[float]], width: int, device: torch.device) -> Tensor:
    return torch.tensor([[*row] + [0.0] * (width - len(row)) for row in rows], device=device)


class TrainForward(Protocol):
    """Reads a batch with gradients: transformers' own forward pass, or `teaching.FlatReader`."""

    device: torch.device
    vocabulary: int
    padded: bool
    """Whether long replies make short ones beside them cost as much."""

    def replies(self, batch: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """Logits [place, vocabulary], and the place [sampled token] of each sampled token's, reply
        after reply; one place may serve several replies. Equal prompts stand together in the batch.
        """
        ...


def logprobs(reader: TrainForward, batch: Sequence[Sample]) -> Tensor:
    """Log-probabilities [sequence, token] of the sampled tokens at each sample's temperature.

    With top_p < 1 they are among the tokens that could be drawn, as the sampler drew them.
    """
    plain, mass = _read_replies(reader, batch)
    return plain if mass is None else plain - mass


def _read_replies(reader: TrainForward, batch: Sequence[Sample]) -> tuple[Tensor, Tensor | None]:
    """Plain log-probabilities, and the log of what all tokens that could be drawn come to.

    Both are [sequence, token], 0 beyond a reply's end. The second is None where that is everything
    (top_p = 1 throughout).
    """
    device, lengths = reader.device, [len(s.sampled) for s in batch]
    logits, places = reader.replies(batch)
    logits = logits.float()
    temperatures = torch.tensor([s.temperature or 1.0 for s in batch for _ in s.sampled])
    targets = torch.tensor([i for s in batch for i in s.sampled], device=device)
    said = logits.flatten().index_select(0, places * logits.shape[1] + targets)
    chosen = torch.zeros_like(said)
    for temperature in sorted(set(temperatures.tolist())):
        scaled = logits / temperature if temperature != 1 else logits
        mine = (temperatures == temperature).to(device)
        total = scaled.logsumexp(-1).index_select(0, places)
        chosen = torch.where(mine, said / temperature - total, chosen)

    def in_rows(flat: Tensor) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(torch.split(flat, lengths)), batch_first=True)

    if all(s.top_p == 1 for s in batch):
        return in_rows(chosen), None
    # One reply at a time: sorting a vocabulary takes several times the room of its logits.
    masses = [
        _drawable(logits[at] / (s.temperature or 1.0), each, s.top_p)
        for at, each, s in zip(
            torch.split(places, lengths), torch.split(targets, lengths), batch, strict=True
        )
    ]
    return in_rows(chosen), in_rows(torch.cat(masses))


def _drawable(logits: Tensor, targets: Tensor, top_p: float) -> Tensor:
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

    def __init__(self, reader: TrainForward, adapter: LoraAdapter, micro_batch_tokens: int) -> None:
        self._reader = reader
        self._adapter = adapter
        self._tokens = micro_batch_tokens
        self._columns = max(1, _LOGITS // reader.vocabulary)

    def step(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """One step; see `TrainablePolicy.update`. A sample without tokens counts, and adds nothing.

        Raises:
            ModelError: Loss or gradient is not a finite number; the weights are as they were.
        """
        size = BatchSize(len(samples), sum(len(s.sampled) for s in samples))
        said = [s for s in samples if s.sampled]
        tally = UpdateTotals()
        self._adapter.optimizer.zero_grad(set_to_none=True)
        try:
            packed = [
                batch
                for part in (by_length(said) if self._reader.padded else [said])
                for batch in self._packed(part)
            ]
            for batch in packed:
                self._accumulate(batch, size, loss, step, tally)
            norm = self._apply(step, tally)
        finally:
            self._adapter.optimizer.zero_grad(set_to_none=True)
        return {
            "loss": tally.loss,
            "grad_norm": norm,
            "sequences": float(size.sequences),
            "tokens": float(size.tokens),
            "logprob_gap": tally.gap / size.tokens if size.tokens else 0.0,
            "ratio_max": tally.ratio_max,
        }

    def _packed(self, samples: Sequence[Sample]) -> list[list[Sample]]:
        if not self._reader.padded:
            return tree_batches(samples, self._tokens, self._columns)
        return micro_batches(samples, self._tokens, self._columns)

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Each sample's log-probabilities [T] as the next step would see them."""
        found: dict[int, tuple[float, ...]] = {}
        said = [s for s in samples if s.sampled]
        with torch.no_grad(), self._adapter.switched(on=True):
            for batch in self._packed(said):
                for sample, row in zip(batch, logprobs(self._reader, batch), strict=True):
                    found[id(sample)] = tuple(row[: len(sample.sampled)].tolist())
        return [found.get(id(sample), ()) for sample in samples]

    def _accumulate(
        self, batch: list[Sample], size: BatchSize, loss: Loss, step: Step, tally: UpdateTotals
    ) -> None:
        device, width = self._reader.device, max(len(s.sampled) for s in batch)
        reference = None
        if step.reference:
            with torch.no_grad(), self._adapter.switched(on=False):
                reference = logprobs(self._reader, batch)
        with self._adapter.switched(on=True):
            new, mass = _read_replies(self._reader, batch)
        old = _padded([s.logprobs for s in batch], width, device)
        if mass is not None:
            # The sampler records plain log-probabilities. Its weights were those before this step,
            # so what could be drawn had then the mass that it has now.
            new, old = new - mass, old - mass.detach()
        mask = _padded([[1.0] * len(s.sampled) for s in batch], width, device)
        advantage = torch.tensor([[s.advantage] for s in batch], device=device)
        part = loss(TokenBatch(new, old, reference, advantage, mask), size)
        if part.requires_grad:
            torch.autograd.backward(part)
        difference = (new.detach() - old)[mask > 0]
        tally.loss += float(part.detach())
        tally.gap += float(difference.abs().double().sum())
        tally.ratio_max = max(tally.ratio_max, float(difference.max().exp()))

    def _apply(self, step: Step, tally: UpdateTotals) -> float:
        parameters = [p for p in self._adapter.parameters.values() if p.grad is not None]
        norm = float(
            torch.nn.utils.clip_grad_norm_(parameters, step.max_grad_norm, foreach=False)
            if parameters
            else 0.0
        )
        if not (math.isfinite(norm) and math.isfinite(tally.loss)):
            raise ModelError(
                f"The update's loss ({tally.loss}) or gradient norm ({norm}) is not a finite "
                "number, and the weights were left as they were: check the rewards and "
                "log-probabilities, or lower the learning rate."
            )
        for group in self._adapter.optimizer.param_groups:
            group["lr"] = step.learning_rate
            group["betas"] = (step.beta1, step.beta2)
        self._adapter.optimizer.step()
        return norm
