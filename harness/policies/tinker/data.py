"""What a hosted trainer is sent and what it says: samples as its data, its answer as our numbers.

Tinker's losses are plain sums over tokens and data. The mean that a loss of ours takes is folded
into the advantages, so that loss, gradient and their clipping are the same numbers as for a model
that is loaded here, and so is what a learning rate means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.errors import ModelError, UsageError
from harness.policies.base import BatchSize, HostedLoss, Loss, NamedLoss, Sample, Step


def hosted_form(loss: Loss, samples: Sequence[Sample], step: Step) -> HostedLoss:
    """The loss as the trainer knows it.

    Raises:
        UsageError: It cannot compute it on these samples; says which settings it can.
    """
    named: object = loss
    if not isinstance(named, NamedLoss):
        raise UsageError(
            "This method's loss is a function of its own, and a hosted trainer computes "
            "importance_sampling, ppo and cispo alone; choose a model that is loaded here "
            "(hf:ORG/NAME), or a method that uses one of them."
        )
    if step.reference:
        raise UsageError(
            "A hosted trainer has no KL term; write --set method.kl=0, as with LoRA in E-SPL."
        )
    for sample in samples:
        check_sampling(sample.temperature, sample.top_p)
    return named.hosted()


def check_sampling(temperature: float, top_p: float) -> None:
    """Refuse to train on replies whose probabilities the trainer would take for others.

    It reads them at temperature 1 over the whole vocabulary.
    """
    if temperature != 1:
        raise UsageError(
            f"Replies would be sampled at temperature {temperature:g} and trained on at 1, which "
            "is all that Tinker's trainer knows; write --set sampling.temperature=1."
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


def datum(sdk: Any, sample: Sample, advantage: float) -> Any:
    """One sample as the SDK takes it: position i of the input predicts token i + 1.

    Prompt positions have advantage 0, so that they add nothing to any of the three losses.
    """
    ids = [*sample.prompt, *sample.sampled]
    before, replied = len(sample.prompt) - 1, len(sample.sampled)
    arrays = {
        "target_tokens": np.array(ids[1:], dtype=np.int64),
        "logprobs": np.array([*[0.0] * before, *sample.logprobs], dtype=np.float32),
        "advantages": np.array([*[0.0] * before, *[advantage] * replied], dtype=np.float32),
    }
    return sdk.Datum(
        model_input=sdk.types.ModelInput.from_ints(ids[:-1]),
        loss_fn_inputs={name: sdk.TensorData.from_numpy(a) for name, a in arrays.items()},
    )


def numbers(
    samples: Sequence[Sample], advantages: Sequence[float], loss: HostedLoss, output: Any
) -> dict[str, float]:
    """What the step was, from the trainer's own log-probabilities before it.

    `loss` is computed here from them; `hosted_loss` is what the trainer says it is.

    Raises:
        ModelError: They are not there, or not finite.
    """
    size = size_of(samples)
    total = gap = 0.0
    ratio_max = 0.0
    outputs = list(output.loss_fn_outputs)
    if len(outputs) != len(samples):
        raise ModelError(
            f"Tinker's trainer answered {len(outputs)} of {len(samples)} samples; nothing can be "
            "said of such a step. Go on with harness resume."
        )
    for sample, advantage, told in zip(samples, advantages, outputs, strict=True):
        new = np.array(told["logprobs"].data, dtype=np.float64)[-len(sample.sampled) :]
        apart = new - np.array(sample.logprobs)
        if len(new) != len(sample.sampled) or not np.isfinite(apart).all():
            raise ModelError(
                "Tinker's trainer returned log-probabilities that are not finite numbers, and the "
                "weights were left as they were: lower the learning rate, and go on with harness "
                "resume."
            )
        gap += float(np.abs(apart).sum())
        ratio_max = max(ratio_max, float(np.exp(apart.max())))
        total += float(_terms(loss, np.exp(apart), new, advantage).sum())
    told_loss = output.metrics.get("loss:sum", math.nan)
    return {
        "loss": total,
        "sequences": float(size.sequences),
        "tokens": float(size.tokens),
        "logprob_gap": gap / size.tokens if size.tokens else 0.0,
        "ratio_max": ratio_max,
    } | ({} if math.isnan(told_loss) else {"hosted_loss": float(told_loss)})


def _terms(loss: HostedLoss, ratio: Any, new: Any, advantage: float) -> Any:
    """The terms [token] that the trainer adds up."""
    clipped = np.clip(ratio, loss.low, loss.high)
    if loss.name == "cispo":
        return -clipped * advantage * new
    if loss.name == "ppo":
        return -np.minimum(ratio * advantage, clipped * advantage)
    return -ratio * advantage
