"""Conversion of samples to a hosted trainer's data, and of its answer to our metrics.

Tinker's losses are plain sums over tokens and data. The mean that a loss of ours takes is folded
into the advantages, so that loss, gradient and their clipping are the same numbers as for a model
that is loaded here, and so is what a learning rate means. So is the KL term's gradient: a token's
extra advantage, exact where sampler and trainer agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import ModelError, UsageError
from harness.policies.base import BatchSize, HostedLoss, Loss, NamedLoss, Sample

Floats = NDArray[np.float64]


def hosted_form(loss: Loss, samples: Sequence[Sample]) -> HostedLoss:
    """The loss as the trainer knows it.

    Raises:
        UsageError: It cannot compute it on these samples; says which settings it can.
        ModelError: A sample's log-probabilities are not finite.
    """
    named: object = loss
    if not isinstance(named, NamedLoss):
        raise UsageError(
            "This method's loss is a function of its own, and a hosted trainer computes "
            "importance_sampling, ppo and cispo alone; choose a model that is loaded here "
            "(hf:ORG/NAME), or a method that uses one of them."
        )
    for sample in samples:
        check_sampling(sample.temperature, sample.top_p)
        if not np.isfinite(sample.logprobs).all():
            raise ModelError(
                "A sample's log-probabilities are not finite numbers, as whoever sampled it told "
                "them; it was not sent to the trainer, and no step was taken."
            )
    return named.hosted()


def check_sampling(temperature: float, top_p: float) -> None:
    """Refuse to train on replies whose probabilities the trainer would take for others.

    It reads them at temperature 1 over the whole vocabulary.
    """
    if temperature != 1:
        raise UsageError(
            f"Completions would be sampled at temperature {temperature:g} and trained on at 1, "
            "which is all that Tinker's trainer knows; write --set sampling.temperature=1."
        )
    if top_p != 1:
        raise UsageError(
            f"With top_p {top_p:g} Tinker's trainer cannot take log-probabilities among the "
            "tokens that could be drawn; write --set sampling.top_p=1, or "
            "method.renormalise=false for the released code's ratio."
        )


def size_of(samples: Sequence[Sample]) -> BatchSize:
    """The size of an update."""
    return BatchSize(len(samples), sum(len(s.sampled) for s in samples))


@dataclass(frozen=True, slots=True)
class WeightedSample:
    """A sample with what the trainer is to do with it.

    `advantages` [T] are those of its tokens, its share of the mean and any KL term folded in;
    `factor` is what the server divides its loss by; `cost` is its KL term's share of the loss.
    """

    sample: Sample
    advantages: Floats
    factor: float = 1.0
    cost: float = 0.0


def weigh_samples(
    samples: Sequence[Sample],
    loss: HostedLoss,
    factors: Sequence[float],
    reference: Sequence[Sequence[float]] | None = None,
) -> list[WeightedSample]:
    """Each sample's tokens with their advantages; `reference` are log-probabilities [T] each."""
    size, weighted = size_of(samples), []
    for i, sample in enumerate(samples):
        share = loss.share(len(sample.sampled), size)
        advantages = np.full(len(sample.sampled), sample.advantage * share)
        cost = 0.0
        if reference is not None and loss.anchor is not None:
            apart = np.array(reference[i]) - np.array(sample.logprobs)
            advantages = advantages + share * loss.anchor.pull(apart)
            cost = share * float(np.sum(loss.anchor.cost(apart)))
        weighted.append(WeightedSample(sample, advantages, factors[i], cost))
    return weighted


def make_datum(sdk: Any, ids: Sequence[int], logprobs: Floats, advantages: Floats) -> Any:
    """Token ids as the SDK takes them: position i of the input predicts token i + 1."""
    arrays = {
        "target_tokens": np.array(ids[1:], dtype=np.int64),
        "logprobs": logprobs.astype(np.float32),
        "advantages": advantages.astype(np.float32),
    }
    return sdk.Datum(
        model_input=sdk.types.ModelInput.from_ints(list(ids[:-1])),
        loss_fn_inputs={name: sdk.TensorData.from_numpy(a) for name, a in arrays.items()},
    )


def datum(sdk: Any, item: WeightedSample) -> Any:
    """One sample as the SDK takes it.

    Prompt positions have advantage 0, so that they add nothing to any of the three losses.
    """
    sample, before = item.sample, np.zeros(len(item.sample.prompt) - 1)
    return make_datum(
        sdk,
        [*sample.prompt, *sample.sampled],
        np.concatenate([before, sample.logprobs]),
        np.concatenate([before, item.advantages * item.factor]),
    )


def numbers(weighted: Sequence[WeightedSample], loss: HostedLoss, output: Any) -> dict[str, float]:
    """Metrics of the step, from the trainer's own log-probabilities before it.

    `loss` is computed here from them; `hosted_loss` is what the trainer says it is, which holds a
    KL term as the advantages that have its gradient.

    Raises:
        ModelError: They are not there, or not finite.
    """
    size = size_of([item.sample for item in weighted])
    total = gap = told_loss = 0.0
    ratio_max = 0.0
    outputs = list(output.loss_fn_outputs)
    if len(outputs) != len(weighted):
        raise ModelError(
            f"The server's trainer answered {len(outputs)} of {len(weighted)} samples; nothing can "
            "be said of such a step. Go on with harness resume."
        )
    for item, told in zip(weighted, outputs, strict=True):
        sample = item.sample
        # The prompt's targets come first.
        new = np.array(told["logprobs"].data, dtype=np.float64)[-len(sample.sampled) :]
        if len(new) != len(sample.sampled) or not np.isfinite(new).all():
            raise ModelError(
                "The server's trainer returned log-probabilities that are not finite numbers, and "
                "the weights were left as they were: lower the learning rate, and go on with "
                "harness resume."
            )
        apart = new - np.array(sample.logprobs)
        gap += float(np.abs(apart).sum())
        ratio_max = max(ratio_max, float(np.exp(apart.max())))
        plain = np.full(len(new), sample.advantage * loss.share(len(new), size))
        total += float(_terms(loss, np.exp(apart), new, plain).sum()) + item.cost
        each = told.get("elementwise_loss")
        told_loss += math.nan if each is None else float(np.sum(each.data)) / item.factor
    told_loss = float(output.metrics.get("loss:sum", told_loss))
    return {
        "loss": total,
        "sequences": float(size.sequences),
        "tokens": float(size.tokens),
        "logprob_gap": gap / size.tokens if size.tokens else 0.0,
        "ratio_max": ratio_max,
    } | ({} if math.isnan(told_loss) else {"hosted_loss": told_loss})


def _terms(loss: HostedLoss, ratio: Floats, new: Floats, advantages: Floats) -> Floats:
    """The terms [token] that the trainer adds up."""
    clipped = np.clip(ratio, loss.low, loss.high)
    # CISPO (MiniMax-M1): the clipped ratio is a constant weight; log π carries the gradient.
    if loss.name == "cispo":
        return -clipped * advantages * new
    if loss.name == "ppo":
        # PPO's clipped surrogate (Schulman et al. 2017, Eq. 7), as a loss.
        return -np.minimum(ratio * advantages, clipped * advantages)
    return -ratio * advantages
