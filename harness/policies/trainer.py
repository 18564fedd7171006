"""One gradient step on sampled replies: micro-batches, log-probabilities, clipping.

Replies to the same prompt share one reading of it, with gradients: a group of N then costs one
prompt instead of N. The layout changes nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from harness.errors import ModelError
from harness.policies.adapter import Adapter
from harness.policies.base import BatchSize, Loss, Sample, Step, TokenBatch
from harness.policies.network import Network, State
from harness.policies.sampler import nucleus

_SHORTEST_HEAD = 16  # tokens; a shared beginning shorter than this is not worth a pass
_PASS = 256  # tokens that one more pass costs, besides those it reads
_LOGITS = 2**28  # values in one pass's logits: 1 GiB in float32, before its gradient


@dataclass(slots=True)
class Tally:
    """What is learnt about an update while it runs."""

    loss: float = 0.0
    gap: float = 0.0
    ratio_max: float = 0.0


def _padded(rows: Sequence[Sequence[float]], width: int, device: torch.device) -> Tensor:
    return torch.tensor([[*row] + [0.0] * (width - len(row)) for row in rows], device=device)


def by_length(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Long replies apart from those at most half as long, where that saves more padding than it
    costs to read the prompts of the shorter ones again. A function of the samples only.
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
    that is larger by itself goes alone. The order is a function of the samples only.
    """
    longest: dict[tuple[int, ...], int] = {}
    for s in samples:
        head = s.prompt[:_SHORTEST_HEAD]
        longest[head] = max(longest.get(head, 0), len(s.prompt))

    def place(s: Sample) -> tuple[object, ...]:
        head = s.prompt[:_SHORTEST_HEAD]
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


def logprobs(network: Network, batch: Sequence[Sample]) -> Tensor:
    """Log-probabilities [sequence, token] of the sampled tokens at each sample's temperature.

    With top_p < 1 they are among the tokens that could be drawn, as the sampler drew them.
    """
    plain, mass = _read_replies(network, batch)
    return plain if mass is None else plain - mass


def _read_replies(network: Network, batch: Sequence[Sample]) -> tuple[Tensor, Tensor | None]:
    """Plain log-probabilities, and the log of what all tokens that could be drawn come to.

    The last prompt token is read with the reply, so that one pass gives all of a reply's logits.
    The second is None where that is everything (top_p = 1 throughout).
    """
    counts: dict[tuple[int, ...], int] = {}
    for sample in batch:  # equal prompts stand together
        counts[sample.prompt] = counts.get(sample.prompt, 0) + 1
    state = _read_prompts(network, [prompt[:-1] for prompt in counts])
    if state is not None:
        state = state.repeat(list(counts.values()))
    width = max(len(s.sampled) for s in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask, targets = torch.zeros_like(ids), torch.zeros_like(ids)
    for i, s in enumerate(batch):
        length = len(s.sampled)
        ids[i, :length] = torch.tensor([s.prompt[-1], *s.sampled[:-1]])
        targets[i, :length] = torch.tensor(s.sampled)
        mask[i, :length] = 1
    device = network.device
    logits, _ = network.forward(ids.to(device), mask.to(device), state, logits=0)
    temperature = torch.tensor([s.temperature or 1.0 for s in batch], device=device)
    scaled = logits.float() / temperature[:, None, None]
    targets = targets.to(device)
    chosen = scaled.gather(2, targets[:, :, None])[:, :, 0] - scaled.logsumexp(-1)
    if all(s.top_p == 1 for s in batch):
        return chosen, None
    # One reply at a time: sorting a vocabulary takes several times the room of its logits.
    masses = [
        _drawable(row, target, s.top_p)
        for row, target, s in zip(scaled, targets, batch, strict=True)
    ]
    return chosen, torch.stack(masses)


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


def _shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many ids all prompts begin with."""
    first, last = min(prompts), max(prompts)  # all others lie between these two
    pairs = zip(first, last, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))


def _read_prompts(network: Network, prompts: list[tuple[int, ...]]) -> State | None:
    """Read prompts, what neighbours begin with once; None where there is nothing to read."""
    if not any(prompts):
        return None
    alike = [list(g) for _, g in groupby(prompts, key=lambda p: p[:_SHORTEST_HEAD])]
    heads = [group[0][: min(_shared(group), min(map(len, group)) - 1)] for group in alike]
    spared = len(prompts) > len(alike) and min(map(len, heads)) >= _SHORTEST_HEAD
    if not spared or not network.gaps:
        return network.read(prompts)[1]
    state = network.read(heads)[1].repeat([len(group) for group in alike])
    tails = [p[len(h) :] for h, group in zip(heads, alike, strict=True) for p in group]
    return network.read(tails, state)[1]


class Trainer:
    """Takes gradient steps on an adapter."""

    def __init__(self, network: Network, adapter: Adapter, micro_batch_tokens: int) -> None:
        self._network = network
        self._adapter = adapter
        self._tokens = micro_batch_tokens
        vocabulary: int = network.model.config.get_text_config().vocab_size
        self._columns = max(1, _LOGITS // vocabulary)

    def step(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """One step; see `TrainablePolicy.update`. A sample without tokens counts, and adds nothing.

        Raises:
            ModelError: Loss or gradient is not a finite number; the weights are as they were.
        """
        size = BatchSize(len(samples), sum(len(s.sampled) for s in samples))
        said = [s for s in samples if s.sampled]
        tally = Tally()
        self._adapter.optimizer.zero_grad(set_to_none=True)
        try:
            packed = [
                batch
                for part in by_length(said)
                for batch in micro_batches(part, self._tokens, self._columns)
            ]
            for batch in self._share(packed):
                self._accumulate(batch, size, loss, step, tally)
            self._gather(tally)
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

    def _share(self, batches: list[list[Sample]]) -> list[list[Sample]]:
        """The micro-batches that are this process's."""
        return batches

    def _gather(self, tally: Tally) -> None:
        """Add up gradients and tally over all processes; here there is one."""

    def logprobs(self, samples: Sequence[Sample]) -> list[tuple[float, ...]]:
        """Each sample's log-probabilities [T] as the next step would see them."""
        found: dict[int, tuple[float, ...]] = {}
        said = [s for s in samples if s.sampled]
        with torch.no_grad(), self._adapter.switched(on=True):
            for batch in micro_batches(said, self._tokens, self._columns):
                for sample, row in zip(batch, logprobs(self._network, batch), strict=True):
                    found[id(sample)] = tuple(row[: len(sample.sampled)].tolist())
        return [found.get(id(sample), ()) for sample in samples]

    def _accumulate(
        self, batch: list[Sample], size: BatchSize, loss: Loss, step: Step, tally: Tally
    ) -> None:
        device, width = self._network.device, max(len(s.sampled) for s in batch)
        reference = None
        if step.reference:
            with torch.no_grad(), self._adapter.switched(on=False):
                reference = logprobs(self._network, batch)
        with self._adapter.switched(on=True):
            new, mass = _read_replies(self._network, batch)
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

    def _apply(self, step: Step, tally: Tally) -> float:
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
