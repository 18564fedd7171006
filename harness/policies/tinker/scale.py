"""Scale of a server's loss (sum or mean): measured before a run, because servers differ.

Tinker's losses are plain sums over tokens and samples. SkyRL 0.4.0's JAX backend takes the mean
over all tokens of a sample, the prompt's included, and then over samples. A loss grows evenly with
the advantages, so multiplying them by what a server divides by gives the plain sum again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import ModelError
from harness.policies.tinker.data import make_datum

NORMS = ("unclipped_grad_l2:mean", "skyrl.ai/grad_norm")
"""Servers' names for the gradient's norm, before it is clipped."""
_NEAR = 0.05  # of a ratio of norms, by rounding
_TOKENS = 8  # of the sample that is measured with


@dataclass(frozen=True, slots=True)
class Scale:
    """The divisor of a server's loss; `known` if it was measured or is documented."""

    samples: bool = False
    tokens: bool = False
    known: bool = True

    def factor(self, tokens: int, samples: int) -> float:
        """The factor for the advantages of a sample of so many targets."""
        return (tokens if self.tokens else 1) * (samples if self.samples else 1)


def norm_of(metrics: Mapping[str, float] | None) -> float | None:
    """The norm of a step's gradient, where the server tells it."""
    told = metrics or {}
    return next((float(told[name]) for name in NORMS if name in told), None)


def measure_scale(sdk: Any, ask: Callable[[str, Callable[[], Any]], Any], trainer: Any) -> Scale:
    """Compare gradient norms of one sample, of two like it, and of a longer one like it.

    The trainer is not to be used afterwards: its optimizer has seen these gradients.

    Raises:
        ModelError: The server divides by something else.
    """
    # A rate of 0 leaves the weights alone, so that all measurements are of the same ones.
    adam = sdk.AdamParams(learning_rate=0.0)

    def take(*data: Any) -> tuple[Any, float | None]:
        what = "did not train"
        call = lambda: trainer.forward_backward(list(data), "importance_sampling")  # noqa: E731
        output = ask(what, call)
        return output, norm_of(ask(what, lambda: trainer.optim_step(adam)).metrics)

    def sample(old: float, beyond: int) -> Any:
        """A sample whose first target alone counts, with targets beyond it that do not."""
        ids = [1 + i % 5 for i in range(_TOKENS + beyond)]
        advantages = np.zeros(len(ids) - 1)
        advantages[0] = 1.0
        return make_datum(sdk, ids, np.full(len(ids) - 1, old), advantages)

    # The first gradient is thrown away: SkyRL's may hold that of a model that was killed.
    output, norm = take(sample(0.0, 0))
    old = float(np.array(output.loss_fn_outputs[0]["logprobs"].data)[0])
    if norm is None:
        return Scale(known=False)
    one, two, longer = (
        take(*data)[1] or 0.0
        for data in (
            (sample(old, 0),),
            (sample(old, 0), sample(old, 0)),
            (sample(old, _TOKENS),),
        )
    )
    # A sample has one target fewer than ids.
    shorter = (_TOKENS - 1) / (2 * _TOKENS - 1)
    samples, tokens = _which(two, one, 2.0), _which(longer, one, shorter, mean_is_scaled=True)
    if samples is None or tokens is None:
        raise ModelError(
            "The server adds up losses by a rule that is not known here (gradient norms "
            f"{one:.4g} for a sample, {two:.4g} for two like it, {longer:.4g} for a longer one), "
            "so a learning rate would mean nothing: use another server, or Tinker."
        )
    return Scale(samples, tokens)


def _which(norm: float, one: float, changed: float, mean_is_scaled: bool = False) -> bool | None:
    """True if the server took a mean; None where the norms fit neither a mean nor a sum.

    Two samples double a sum and leave a mean; more tokens leave a sum and shrink a mean.
    """
    if one <= 0:
        return None
    ratio = norm / one
    if abs(ratio - changed) < _NEAR:
        return mean_is_scaled
    return (not mean_is_scaled) if abs(ratio - 1) < _NEAR else None
