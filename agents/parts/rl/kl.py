"""Holding the policy to where it started: Schulman's three estimates of KL(π_new ‖ π_reference).

Per token of the reply, from the sampled token alone, with d = log π_reference − log π_new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

from harness.policies.base import TokenBatch

if TYPE_CHECKING:
    from torch import Tensor

KLForm = Literal["k1", "k2", "k3"]


def distance(batch: TokenBatch) -> Tensor:
    """Distance d per token; 0 on padding, whatever was left there."""
    assert batch.reference is not None, "a KL term needs Step(reference=True)"
    return (batch.reference - batch.new).masked_fill(batch.mask == 0, 0.0)


def k1(batch: TokenBatch) -> Tensor:
    """−d: unbiased, of either sign.

    Taken literally its gradient is that of log π, whose mean is zero, so that it would hold nothing
    back. The gradient here is k2's, which on samples of π_new is the KL's own (verl's "k1+").
    """
    held = k2(batch)
    return -distance(batch).detach() + held - held.detach()


def k2(batch: TokenBatch) -> Tensor:
    """d²/2: never negative, biased where d is large; its gradient is unbiased."""
    return distance(batch).square() / 2


def k3(batch: TokenBatch) -> Tensor:
    """e^d − d − 1: never negative and unbiased; its gradient is not (TRL's and verl's form)."""
    d = distance(batch)
    return d.exp() - d - 1


KLS: Mapping[str, Callable[[TokenBatch], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}
FORMULAS: Mapping[str, str] = {
    "k1": "−d, with the gradient of d²/2",
    "k2": "d²/2",
    "k3": "e^d − d − 1",
}
