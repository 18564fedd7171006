"""Policy-gradient losses, one short function each, to be minimised.

A ratio r = π_new / π_old per token is taken against the log-probabilities recorded while sampling.
Each loss names its term per token and how terms are added up; the same name means different things
elsewhere, so both are spelled out. Tensor methods only: importing this does not import torch.

A sequence is one reply. In a world of several turns each turn's reply is a sequence of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.errors import UsageError, unknown
from harness.policies.base import BatchSize, Loss, TokenBatch

if TYPE_CHECKING:
    from torch import Tensor

LossName = Literal["importance_sampling", "grpo", "dr_grpo", "cispo", "ppo"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A loss in two halves, and the range it keeps ratios in unless told otherwise."""

    term: Callable[[TokenBatch, float, float], Tensor]  # -> [sequence, token]
    total: Callable[[Tensor, Tensor, BatchSize, int], Tensor]  # -> scalar
    clip: tuple[float, float] | None


def build(
    name: str,
    *,
    clip_low: float | None = None,
    clip_high: float | None = None,
    kl: float = 0.0,
    max_tokens: int,
    idle: BatchSize,
) -> Loss:
    """The loss of that name with its numbers bound.

    `clip_low` and `clip_high` bound the ratio itself (0.8 and 1.2, not ε). `kl` weighs the k3
    estimate of KL(π_new ‖ π_reference), added to each token's term. `max_tokens` is Dr. GRPO's
    constant length. `idle` is what was played but carries no gradient: it adds nothing to a sum,
    yet it counts in a mean, as in Eq. 3's 1/(NM).
    """
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    recipe = LOSSES[name]
    low, high = bounds(name, clip_low, clip_high)

    def loss(batch: TokenBatch, size: BatchSize) -> Tensor:
        terms = recipe.term(batch, low, high)
        if kl:
            terms = terms + kl * k3(batch)
        whole = BatchSize(size.sequences + idle.sequences, size.tokens + idle.tokens)
        return recipe.total(terms, batch.mask, whole, max_tokens)

    return loss


def bounds(name: str, low: float | None, high: float | None) -> tuple[float, float]:
    """The ratio's range: the loss's own where none is given; an empty range is a usage error."""
    own = LOSSES[name].clip
    if own is None:
        if low is not None or high is not None:
            raise UsageError(
                f"Loss '{name}' does not clip, so clip_low and clip_high would change nothing; "
                "leave them out, or choose --set method.loss=ppo."
            )
        return 0.0, float("inf")
    chosen = (own[0] if low is None else low, own[1] if high is None else high)
    if not 0 <= chosen[0] < chosen[1]:
        raise UsageError(
            f"Ratios cannot be kept between {chosen[0]:g} and {chosen[1]:g}; clip_low and "
            f"clip_high bound the ratio itself, as in --set method.clip_high={own[1]:g}."
        )
    return chosen


def ratio(batch: TokenBatch) -> Tensor:
    """π_new / π_old per token; 1 on padding, whatever was left there."""
    return (batch.new - batch.old).masked_fill(batch.mask == 0, 0.0).exp()


def k3(batch: TokenBatch) -> Tensor:
    """Schulman's k3 estimate of KL(π_new ‖ π_reference) per token: e^d − d − 1, d = ref − new."""
    assert batch.reference is not None, "a KL term needs Step(reference=True)"
    distance = (batch.reference - batch.new).masked_fill(batch.mask == 0, 0.0)
    return distance.exp() - distance - 1


def weighted(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−r·A: where nothing has moved its gradient is that of −A·log π (E-SPL Eq. 3)."""
    return -ratio(batch) * batch.advantage


def clipped(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−min(r·A, clip(r)·A): no reward for going further than the range."""
    r = ratio(batch)
    return -(r * batch.advantage).minimum(r.clamp(min=low, max=high) * batch.advantage)


def detached(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−sg(clip(r))·A·log π: every token keeps a gradient, its weight is bounded (CISPO)."""
    weight = ratio(batch).clamp(min=low, max=high).detach()
    return -weight * batch.advantage * batch.new.masked_fill(batch.mask == 0, 0.0)


def by_sequence(terms: Tensor, mask: Tensor, size: BatchSize, max_tokens: int) -> Tensor:
    """Sum over tokens, mean over sequences: Eq. 3's 1/(NM) Σ_i Σ_j.

    The released code takes the plain sum over sequences too, so that its step grows with the batch.
    """
    return (terms * mask).sum() / size.sequences


def by_sequence_mean(terms: Tensor, mask: Tensor, size: BatchSize, max_tokens: int) -> Tensor:
    """Mean over each sequence's tokens, then over sequences (TRL's `grpo`)."""
    means = (terms * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)
    return means.sum() / size.sequences


def by_length_limit(terms: Tensor, mask: Tensor, size: BatchSize, max_tokens: int) -> Tensor:
    """Sum over sequences × the token limit: no length is favoured (TRL's `dr_grpo`)."""
    return (terms * mask).sum() / (size.sequences * max_tokens)


def by_token(terms: Tensor, mask: Tensor, size: BatchSize, max_tokens: int) -> Tensor:
    """Mean over all tokens of the whole update (TRL's `cispo`)."""
    return (terms * mask).sum() / max(size.tokens, 1)


LOSSES: Mapping[str, Recipe] = {
    "importance_sampling": Recipe(weighted, by_sequence, clip=None),
    "grpo": Recipe(clipped, by_sequence_mean, clip=(0.8, 1.2)),
    "dr_grpo": Recipe(clipped, by_length_limit, clip=(0.8, 1.2)),
    "cispo": Recipe(detached, by_token, clip=(0.0, 4.0)),
    "ppo": Recipe(clipped, by_sequence, clip=(0.8, 1.2)),
}
