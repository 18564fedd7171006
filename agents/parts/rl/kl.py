"""KL penalty towards the initial weights: Schulman's three estimates of KL(π_new ‖ π_ref).

Each is computed per token from the sampled token alone, with d = log π_ref − log π_new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.errors import UsageError
from harness.policies.base import HostedKL, TokenBatch

if TYPE_CHECKING:
    from torch import Tensor

KLForm = Literal["k1", "k2", "k3"]


def require_support(kl: float, renormalise: bool, top_p: float) -> None:
    """Refuse a KL term whose value is infinite.

    Renormalised to its own top-p set, π_ref gives probability 0 to tokens outside of it, and the
    policy may have sampled one of these.
    """
    if kl and renormalise and top_p < 1:
        raise UsageError(
            "With sampling.top_p < 1 the initial model may not sample a token that the policy "
            "sampled, and their KL is infinite; set sampling.top_p=1, method.kl=0 or "
            "method.renormalise=false."
        )


def log_ratio(batch: TokenBatch) -> Tensor:
    """D = log π_ref − log π_new [sequence, token]; 0 on padding, whatever it holds."""
    assert batch.reference is not None, "a KL term needs Step(reference=True)"
    # Filled rather than multiplied: padding may hold inf, and inf · 0 is NaN.
    return (batch.reference - batch.new).masked_fill(batch.mask == 0, 0.0)


def k1(batch: TokenBatch) -> Tensor:
    """−d: unbiased, of either sign.

    The gradient of −d is that of log π, whose mean is zero, so it would not hold the policy back.
    The value here is −d and the gradient k2's, which on samples of π_new is the KL's own (verl's
    "k1+").
    """
    # surrogate − sg(surrogate) is 0 in value and has the gradient of the surrogate.
    surrogate = k2(batch)
    return -log_ratio(batch).detach() + surrogate - surrogate.detach()


def k2(batch: TokenBatch) -> Tensor:
    """d²/2: never negative, biased where d is large; its gradient is unbiased."""
    return log_ratio(batch).square() / 2


def k3(batch: TokenBatch) -> Tensor:
    """e^d − d − 1: never negative and unbiased; its gradient is biased (TRL's and verl's form)."""
    d = log_ratio(batch)
    return d.exp() - d - 1


KLS: Mapping[str, Callable[[TokenBatch], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}
FORMULAS: Mapping[str, str] = {
    "k1": "−d, with the gradient of d²/2",
    "k2": "d²/2",
    "k3": "e^d − d − 1",
}


# The gradient of each term is −pull(d) · ∇ log π_new, which is that of an advantage pull(d).
_HOSTED: Mapping[str, HostedKL] = {
    "k1": HostedKL(cost=lambda d: -d, pull=lambda d: d),
    "k2": HostedKL(cost=lambda d: d**2 / 2, pull=lambda d: d),
    "k3": HostedKL(cost=lambda d: np.expm1(d) - d, pull=np.expm1),
}


def hosted_kl(form: KLForm, weight: float) -> HostedKL | None:
    """The term for a trainer elsewhere, which knows no KL but takes an advantage per token."""
    if not weight:
        return None
    kl = _HOSTED[form]
    return HostedKL(cost=lambda d: weight * kl.cost(d), pull=lambda d: weight * kl.pull(d))
