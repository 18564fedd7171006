"""Policy-gradient losses, one short function each, to be minimised.

r = π_new / π_old is the importance ratio per token, against the log-probabilities recorded while
sampling. A loss is a term per token and an aggregation of terms. The same name means different
things in different trainers, so both are spelled out, and `loss_card.card` prints them with their
numbers. Only tensor methods are used: importing this does not import torch.

A sequence is one completion; in an environment of several turns, each turn is a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agents.parts.rl.advantages import Comparison
from agents.parts.rl.importance_correction import BYPASS, Correction, corrected
from agents.parts.rl.kl import KLS, KLForm, hosted_kl
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
"""Five clip ranges that are all called CISPO. "own" is Tinker's."""


@dataclass(frozen=True, slots=True)
class LossRecipe:
    """A loss: its term per token, the aggregation of terms, and its defaults.

    `clip` is the default range of the ratio, `compares` the kind of advantage it is defined with;
    `drops` says that groups with equal rewards are no part of its mean.
    """

    term: Callable[[TokenBatch, float, float], Tensor]  # -> [sequence, token]
    aggregate: Callable[[Tensor, Tensor, BatchSize, int], Tensor]  # -> scalar
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
    zero_advantage: BatchSize,
) -> BuiltLoss:
    """The loss of that name with its numbers bound.

    `clip_low` and `clip_high` bound the ratio itself (0.8 and 1.2, not ε); `clip` names one of
    CISPO's ranges. `kl` is β, the weight of an estimate of KL(π_new ‖ π_ref) added to each term
    (Eq. 3). `correction` is for a mismatch between sampler and trainer. `max_tokens` is the
    constant length of Dr. GRPO. `zero_advantage` is the size of what was sampled but has no
    gradient: it adds nothing to a sum, yet counts in a mean, as in the 1/(NM) of Eq. 3.
    """
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    low, high = bounds(name, clip_low, clip_high, clip)
    return BuiltLoss(name, low, high, kl, kl_form, correction, max_tokens, zero_advantage)


@dataclass(frozen=True, slots=True)
class BuiltLoss:
    """A loss with its numbers bound; called by the trainer on each micro-batch."""

    name: str
    low: float
    high: float
    kl: float
    kl_form: KLForm
    correction: Correction
    max_tokens: int
    zero_advantage: BatchSize

    def __call__(self, batch: TokenBatch, size: BatchSize) -> Tensor:
        """The part of a micro-batch in the loss of a whole update of that size.

        Sums are divided by the size of the update, not of the micro-batch, so that the loss and its
        gradient do not depend on how the update was split.
        """
        recipe = LOSSES[self.name]
        aligned, weight = corrected(batch, self.correction)
        terms = recipe.term(aligned, self.low, self.high)
        if weight is not None:
            terms = terms * weight
        if self.kl:
            terms = terms + self.kl * KLS[self.kl_form](batch)
        return recipe.aggregate(terms, batch.mask, self._full_size(size), self.max_tokens)

    def hosted(self) -> HostedLoss:
        """The same loss for a hosted trainer, which computes three losses by name (`HostedLoss`).

        Raises:
            UsageError: This loss is none of the three.
        """
        recipe = LOSSES[self.name]
        limits = "a hosted trainer computes importance_sampling, ppo and cispo alone"
        if recipe.term not in _HOSTED:
            raise UsageError(
                f"Loss '{self.name}' weights whole completions, but {limits}; "
                "choose --set method.loss=importance_sampling."
            )
        if self.correction.name != "none":
            raise UsageError(
                f"method.correction is '{self.correction.name}', but {limits}, against the "
                "sampler's log-probabilities; write --set method.correction=none."
            )
        share = _TOKEN_WEIGHTS[recipe.aggregate]
        return HostedLoss(
            _HOSTED[recipe.term],
            self.low,
            self.high,
            lambda tokens, size: share(tokens, self._full_size(size), self.max_tokens),
            hosted_kl(self.kl_form, self.kl),
        )

    def _full_size(self, size: BatchSize) -> BatchSize:
        idle = self.zero_advantage
        return BatchSize(size.sequences + idle.sequences, size.tokens + idle.tokens)


def group_rules(name: str, advantage: str, constant: str) -> tuple[str, bool]:
    """A loss's comparison of rewards, and True if it drops groups whose rewards are all equal.

    "own" means the default of the loss for either.
    """
    recipe = LOSSES[name]
    compares = recipe.compares if advantage == "own" else advantage
    return compares, constant == "drop" or (constant == "own" and recipe.drops)


def bounds(
    name: str, low: float | None, high: float | None, clip: str = "own"
) -> tuple[float, float]:
    """The range of the ratio, (low, high): the loss's own where none is given.

    Raises:
        UsageError: The range is empty, or the loss does not clip.
    """
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


def _log_ratio(batch: TokenBatch) -> Tensor:
    """Log π_new − log π_old [sequence, token]; 0 on padding, whatever it holds."""
    # Filled rather than multiplied: padding may hold inf, and inf · 0 is NaN, also as a gradient.
    return (batch.new - batch.old).masked_fill(batch.mask == 0, 0.0)


def ratio(batch: TokenBatch) -> Tensor:
    """R = π_new / π_old [sequence, token]; 1 on padding."""
    return _log_ratio(batch).exp()


def importance_weighted(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−r·A. At π_new = π_old its gradient is that of −A·log π (E-SPL Eq. 3): ∇r = r·∇log π."""
    return -ratio(batch) * batch.advantage


def _surrogate(r: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    # The minimum is pessimistic: a clipped ratio never makes the objective larger.
    return -(r * advantage).minimum(r.clamp(min=low, max=high) * advantage)


def ppo_clipped(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−min(r·A, clip(r)·A): no gradient for moving further than the range (PPO)."""
    return _surrogate(ratio(batch), batch.advantage, low, high)


def cispo_weighted(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−sg(clip(r))·A·log π: every token keeps a gradient, with a bounded weight (CISPO)."""
    weight = ratio(batch).clamp(min=low, max=high).detach()
    return -weight * batch.advantage * batch.new.masked_fill(batch.mask == 0, 0.0)


def gspo_clipped(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−min(s·A, clip(s)·A), s the geometric mean of a sequence's ratios, on each token (GSPO)."""
    lengths = batch.mask.sum(-1, keepdim=True).clamp(min=1.0)
    s = (_log_ratio(batch).sum(-1, keepdim=True) / lengths).exp()
    return _surrogate(s, batch.advantage, low, high) * batch.mask


def sequence_clipped(batch: TokenBatch, low: float, high: float) -> Tensor:
    """−min(R·A, clip(R)·A), R the product of a sequence's ratios, over all its tokens (RLOO)."""
    lengths = batch.mask.sum(-1, keepdim=True).clamp(min=1.0)
    r = _log_ratio(batch).sum(-1, keepdim=True).exp()
    return _surrogate(r, batch.advantage, low, high) * batch.mask / lengths


def seq_mean_token_sum(terms: Tensor, mask: Tensor, size: BatchSize, max_tokens: int) -> Tensor:
    """Sum over tokens, mean over sequences: 1/(NM) Σ_i Σ_j of E-SPL Eq. 3.

    log π(y) of a sequence is a sum over its tokens, hence no division by length. The released code
    sums over sequences as well, so that its step grows with the batch.
    """
    return (terms * mask).sum() / size.sequences


def seq_mean_token_mean(terms: Tensor, mask: Tensor, size: BatchSize, max_tokens: int) -> Tensor:
    """Mean over the tokens of each sequence, then over sequences (TRL's `grpo`)."""
    means = (terms * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)
    return means.sum() / size.sequences


def seq_mean_token_sum_norm(
    terms: Tensor, mask: Tensor, size: BatchSize, max_tokens: int
) -> Tensor:
    """Sum over tokens, over sequences × token limit: no length is favoured (TRL's `dr_grpo`)."""
    return (terms * mask).sum() / (size.sequences * max_tokens)


def token_mean(terms: Tensor, mask: Tensor, size: BatchSize, max_tokens: int) -> Tensor:
    """Mean over all tokens of the update (TRL's `cispo` and `dapo`)."""
    return (terms * mask).sum() / max(size.tokens, 1)


# The weight of one token in each aggregation: hosted trainers sum over tokens, and with these
# weights the sum is the same.
_TOKEN_WEIGHTS: Mapping[Callable[..., Tensor], Callable[[int, BatchSize, int], float]] = {
    seq_mean_token_sum: lambda tokens, size, limit: 1 / size.sequences,
    seq_mean_token_mean: lambda tokens, size, limit: 1 / (max(tokens, 1) * size.sequences),
    seq_mean_token_sum_norm: lambda tokens, size, limit: 1 / (size.sequences * limit),
    token_mean: lambda tokens, size, limit: 1 / max(size.tokens, 1),
}
_HOSTED: Mapping[Callable[..., Tensor], HostedName] = {
    importance_weighted: "importance_sampling",
    ppo_clipped: "ppo",
    cispo_weighted: "cispo",
}

_CLIPPED = "min(r·A, clip(r, {low}, {high})·A)"
LOSSES: Mapping[str, LossRecipe] = {
    "importance_sampling": LossRecipe(
        importance_weighted, seq_mean_token_sum, None, "1/S Σ_i Σ_t r·A"
    ),
    "grpo": LossRecipe(
        ppo_clipped, seq_mean_token_mean, (0.8, 1.2), f"1/S Σ_i 1/T_i Σ_t {_CLIPPED}", "normalised"
    ),
    "dr_grpo": LossRecipe(
        ppo_clipped, seq_mean_token_sum_norm, (0.8, 1.2), f"1/(S·{{limit}}) Σ_i Σ_t {_CLIPPED}"
    ),
    "dapo": LossRecipe(
        ppo_clipped, token_mean, (0.8, 1.28), f"1/T Σ_i Σ_t {_CLIPPED}", "normalised", drops=True
    ),
    "gspo": LossRecipe(
        gspo_clipped,
        seq_mean_token_mean,
        (1 - 3e-4, 1 + 4e-4),  # GSPO, arXiv 2507.18071 §5.1
        "1/S Σ_i min(s·A, clip(s, {low}, {high})·A), s = (Π_t r)^(1/T_i)",
        "normalised",
    ),
    "cispo": LossRecipe(
        cispo_weighted,
        token_mean,
        CISPO_CLIPS["tinker"],
        "1/T Σ_i Σ_t sg(clip(r, {low}, {high}))·A·log π",
    ),
    "rloo": LossRecipe(
        sequence_clipped,
        seq_mean_token_sum,
        (0.8, 1.2),
        "1/S Σ_i min(R·A, clip(R, {low}, {high})·A), R = Π_t r",
        "leave_one_out",
    ),
    "ppo": LossRecipe(ppo_clipped, seq_mean_token_sum, (0.8, 1.2), f"1/S Σ_i Σ_t {_CLIPPED}"),
}
