"""Policy-gradient losses, one short function each, to be minimised.

A ratio r = π_new / π_old per token is taken against the log-probabilities recorded while sampling.
Each loss names its term per token and how terms are added up; the same name means different things
elsewhere, so both are spelled out, and `cards.card` prints them with their numbers. Tensor methods
only: importing this does not import torch.

A sequence is one reply. In a world of several turns each turn's reply is a sequence of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agents.parts.rl.advantages import Comparison
from agents.parts.rl.importance_correction import BYPASS, Correction, corrected
from agents.parts.rl.kl import KLS, KLForm
from harness.errors import UsageError, unknown
from harness.policies.base import BatchSize, HostedLoss, HostedName, TokenBatch

if TYPE_CHECKING:
    from torch import Tensor

LossName = Literal["importance_sampling", "grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "ppo"]
ClipName = Literal["own", "tinker", "skyrl", "verl", "open_instruct", "trl"]

CISPO_CLIPS: Mapping[str, tuple[float, float]] = {
    "tinker": (0.0, 4.0),  # and E-SPL's released code
    "skyrl": (0.0, 5.0),
    "verl": (0.8, 1.2),
    "open_instruct": (0.0, 1.2),  # min(r, 1 + ε), with PPO's usual ε = 0.2
    "trl": (0.0, 0.2),  # epsilon_high is the cap itself, and falls back to ε: every weight ≤ 0.2
}
"""Five ranges that are all called CISPO. "own" is Tinker's."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A loss in two halves, the range it keeps ratios in unless told otherwise, and what it expects
    of advantages. `drops` says that groups without spread are no part of its mean.
    """

    term: Callable[[TokenBatch, float, float], Tensor]  # -> [sequence, token]
    total: Callable[[Tensor, Tensor, BatchSize, int], Tensor]  # -> scalar
    clip: tuple[float, float] | None
    formula: str
    compares: Comparison = "mean"
    drops: bool = False


def build(
    name: str,
    *,
    clip_low: float | None = None,
    clip_high: float | None = None,
    clip: str = "own",
    kl: float = 0.0,
    kl_form: KLForm = "k3",
    correction: Correction = BYPASS,
    max_tokens: int,
    idle: BatchSize,
) -> BuiltLoss:
    """The loss of that name with its numbers bound.

    `clip_low` and `clip_high` bound the ratio itself (0.8 and 1.2, not ε); `clip` names one of
    CISPO's ranges. `kl` weighs an estimate of KL(π_new ‖ π_reference), added to each token's term.
    `correction` is for samplers and trainers that disagree. `max_tokens` is Dr. GRPO's constant
    length. `idle` is what was played but carries no gradient: it adds nothing to a sum, yet it
    counts in a mean, as in Eq. 3's 1/(NM).
    """
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    low, high = bounds(name, clip_low, clip_high, clip)
    return BuiltLoss(name, low, high, kl, kl_form, correction, max_tokens, idle)


@dataclass(frozen=True, slots=True)
class BuiltLoss:
    """A loss with its numbers bound."""

    name: str
    low: float
    high: float
    kl: float
    kl_form: KLForm
    correction: Correction
    max_tokens: int
    idle: BatchSize

    def __call__(self, batch: TokenBatch, size: BatchSize) -> Tensor:
        """The micro-batch's part of the loss of an update of that size."""
        recipe = LOSSES[self.name]
        aligned, weight = corrected(batch, self.correction)
        terms = recipe.term(aligned, self.low, self.high)
        if weight is not None:
            terms = terms * weight
        if self.kl:
            terms = terms + self.kl * KLS[self.kl_form](batch)
        return recipe.total(terms, batch.mask, self._whole(size), self.max_tokens)

    def hosted(self) -> HostedLoss:
        """The same as a trainer elsewhere computes it; see `HostedLoss`.

        Raises:
            UsageError: A trainer that knows three losses by name cannot compute this one.
        """
        recipe = LOSSES[self.name]
        told = "a hosted trainer computes importance_sampling, ppo and cispo alone"
        if recipe.term not in _HOSTED:
            raise UsageError(
                f"Loss '{self.name}' weighs whole replies, but {told}; "
                "choose --set method.loss=importance_sampling."
            )
        if self.kl:
            raise UsageError(
                f"method.kl is {self.kl:g}, but {told}, without a KL term; "
                "write --set method.kl=0, as with LoRA in E-SPL."
            )
        if self.correction.name != "bypass":
            raise UsageError(
                f"method.correction is '{self.correction.name}', but {told}, against the "
                "sampler's log-probabilities; write --set method.correction=bypass."
            )
        share = _SHARES[recipe.total]
        return HostedLoss(
            _HOSTED[recipe.term],
            self.low,
            self.high,
            lambda tokens, size: share(tokens, self._whole(size), self.max_tokens),
        )

    def _whole(self, size: BatchSize) -> BatchSize:
        return BatchSize(size.sequences + self.idle.sequences, size.tokens + self.idle.tokens)


def bounds(
    name: str, low: float | None, high: float | None, clip: str = "own"
) -> tuple[float, float]:
    """The ratio's range: the loss's own where none is given; an empty range is a usage error."""
    own = LOSSES[name].clip
    if clip != "own" and name != "cispo":
        raise UsageError(
            f"clip '{clip}' is one of CISPO's ranges, and loss '{name}' has its own; "
            "set clip_low and clip_high, or choose --set method.loss=cispo."
        )
    if own is None:
        if low is not None or high is not None:
            raise UsageError(
                f"Loss '{name}' does not clip, so clip_low and clip_high would change nothing; "
                "leave them out, or choose --set method.loss=ppo."
            )
        return 0.0, float("inf")
    if clip != "own":
        if low is not None or high is not None:
            raise UsageError(
                f"clip '{clip}' names a whole range, so clip_low and clip_high contradict it; "
                "give the one or the others."
            )
        return CISPO_CLIPS[clip]
    chosen = (own[0] if low is None else low, own[1] if high is None else high)
    if not 0 <= chosen[0] < chosen[1]:
        raise UsageError(
            f"Ratios cannot be kept between {chosen[0]:g} and {chosen[1]:g}; clip_low and "
            f"clip_high bound the ratio itself, as in --set method.clip_high={own[1]:g}."
        )
    return chosen


def _apart(batch: TokenBatch) -> Tensor:
    """How far log π_new is from log π_old per token; 0 on padding, whatever was left there."""
    return (batch.new - batch.old).masked_fill(batch.mask == 0, 0.0)


def ratio(batch: TokenBatch) -> Tensor:
    """π_new / π_old per token; 1 on padding."""
    return _apart(batch).exp()


def weighted(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−r·A: where nothing has moved its gradient is that of −A·log π (E-SPL Eq. 3)."""
    return -ratio(batch) * batch.advantage


def _surrogate(r: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    return -(r * advantage).minimum(r.clamp(min=low, max=high) * advantage)


def clipped(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−min(r·A, clip(r)·A): no reward for going further than the range."""
    return _surrogate(ratio(batch), batch.advantage, low, high)


def detached(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−sg(clip(r))·A·log π: every token keeps a gradient, its weight is bounded (CISPO)."""
    weight = ratio(batch).clamp(min=low, max=high).detach()
    return -weight * batch.advantage * batch.new.masked_fill(batch.mask == 0, 0.0)


def geometric(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−min(s·A, clip(s)·A), s the geometric mean of a sequence's ratios, on each of its tokens."""
    lengths = batch.mask.sum(-1, keepdim=True).clamp(min=1.0)
    s = (_apart(batch).sum(-1, keepdim=True) / lengths).exp()
    return _surrogate(s, batch.advantage, low, high) * batch.mask


def whole(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−min(R·A, clip(R)·A), R the product of a sequence's ratios, shared out over its tokens."""
    lengths = batch.mask.sum(-1, keepdim=True).clamp(min=1.0)
    r = _apart(batch).sum(-1, keepdim=True).exp()
    return _surrogate(r, batch.advantage, low, high) * batch.mask / lengths


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
    """Mean over all tokens of the whole update (TRL's `cispo` and `dapo`)."""
    return (terms * mask).sum() / max(size.tokens, 1)


# What one token of a reply counts in each total, so that a plain sum over tokens gives the same.
_SHARES: Mapping[Callable[..., Tensor], Callable[[int, BatchSize, int], float]] = {
    by_sequence: lambda tokens, size, limit: 1 / size.sequences,
    by_sequence_mean: lambda tokens, size, limit: 1 / (max(tokens, 1) * size.sequences),
    by_length_limit: lambda tokens, size, limit: 1 / (size.sequences * limit),
    by_token: lambda tokens, size, limit: 1 / max(size.tokens, 1),
}
_HOSTED: Mapping[Callable[..., Tensor], HostedName] = {
    weighted: "importance_sampling",
    clipped: "ppo",
    detached: "cispo",
}

_CLIPPED = "min(r·A, clip(r, {low}, {high})·A)"
LOSSES: Mapping[str, Recipe] = {
    "importance_sampling": Recipe(weighted, by_sequence, None, "1/S Σ_i Σ_t r·A"),
    "grpo": Recipe(
        clipped, by_sequence_mean, (0.8, 1.2), f"1/S Σ_i 1/T_i Σ_t {_CLIPPED}", "normalised"
    ),
    "dr_grpo": Recipe(clipped, by_length_limit, (0.8, 1.2), f"1/(S·{{limit}}) Σ_i Σ_t {_CLIPPED}"),
    "dapo": Recipe(
        clipped, by_token, (0.8, 1.28), f"1/T Σ_i Σ_t {_CLIPPED}", "normalised", drops=True
    ),
    "gspo": Recipe(
        geometric,
        by_sequence_mean,
        (1 - 3e-4, 1 + 4e-4),  # GSPO, arXiv 2507.18071 §5.1
        "1/S Σ_i min(s·A, clip(s, {low}, {high})·A), s = (Π_t r)^(1/T_i)",
        "normalised",
    ),
    "cispo": Recipe(
        detached, by_token, CISPO_CLIPS["tinker"], "1/T Σ_i Σ_t sg(clip(r, {low}, {high}))·A·log π"
    ),
    "rloo": Recipe(
        whole,
        by_sequence,
        (0.8, 1.2),
        "1/S Σ_i min(R·A, clip(R, {low}, {high})·A), R = Π_t r",
        "leave_one_out",
    ),
    "ppo": Recipe(clipped, by_sequence, (0.8, 1.2), f"1/S Σ_i Σ_t {_CLIPPED}"),
}
