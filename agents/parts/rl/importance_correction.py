"""Importance correction for a mismatch between sampler and trainer.

The log-probability recorded by the sampler and the trainer's own, before its step, should be equal.
They differ by rounding, by another inference engine, or because the trainer reads the completion
under another prompt. A correction uses the trainer's as π_old and weights each term by the bounded
importance ratio w = π_old / π_sampler. There is one gradient step per round, so the trainer's own
log-probability is `new` without its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from harness.policies.base import TokenBatch

if TYPE_CHECKING:
    from torch import Tensor

CorrectionName = Literal[
    "none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask", "hard_clip"
]

CAPS: Mapping[str, float] = {
    "none": float("inf"),
    "token_truncate": 2.0,  # verl's token TIS
    "token_mask": 3.0,
    "sequence_truncate": 3.0,
    "sequence_mask": 3.0,  # TRL's default
    "hard_clip": 10.0,  # P2O keeps 0.01 … 10
}
FORMULAS: Mapping[str, str] = {
    "token_truncate": "min(w, {cap})",
    "token_mask": "w where w ≤ {cap}, else 0",
    "sequence_truncate": "min(Π_t w, {cap})",
    "sequence_mask": "Π_t w where that is ≤ {cap}, else 0",
    "hard_clip": "1 where 0.01 ≤ w ≤ {cap}, else 0",
}
_HARD_CLIP_LOW = 0.01


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction and the cap of its weight. "none" corrects nothing: π_old := π_sampler."""

    name: CorrectionName = "none"
    cap: float = float("inf")

    @classmethod
    def of(cls, name: CorrectionName, cap: float | None = None) -> Correction:
        """The correction of that name, with its usual cap if none is given."""
        return cls(name, CAPS[name] if cap is None else cap)


BYPASS = Correction()


def corrected(batch: TokenBatch, correction: Correction) -> tuple[TokenBatch, Tensor | None]:
    """The batch with the trainer's π_old, and the weight of each term (None: no weight).

    The weight is [sequence, token] or [sequence, 1], without gradient. A product over tokens moves
    away from 1 with length, so long completions are the first to be masked, as in TRL.
    """
    name, cap = correction.name, correction.cap
    if name == "none":
        return batch, None
    old = batch.new.detach()
    # In log space, so that a product over thousands of tokens is a sum.
    log_weight = (old - batch.old).masked_fill(batch.mask == 0, 0.0)
    if name.startswith("sequence"):
        log_weight = log_weight.sum(-1, keepdim=True)
    weight = log_weight.exp()
    if name.endswith("truncate"):
        weight = weight.clamp(max=cap)
    elif name.endswith("mask"):
        weight = weight.masked_fill(weight > cap, 0.0)
    else:
        weight = ((weight >= _HARD_CLIP_LOW) & (weight <= cap)).to(weight.dtype)
    return replace(batch, old=old), weight


def handover_lines(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """A log line on the time that another engine took, where it samples and was handed weights."""
    if "handover_seconds" not in metrics:
        return ()
    return (
        f"the engine slept and woke in {metrics['sleep_seconds']:.1f} s and took the adapter in "
        f"{metrics['handover_seconds']:.1f} s",
    )


def mismatch_lines(correction: str, metrics: Mapping[str, float]) -> tuple[str, ...]:
    """A log line on the measured mismatch, where it is being corrected."""
    if correction == "none" or "logprob_gap" not in metrics:
        return ()
    return (
        f"sampler and trainer differ by {metrics['logprob_gap']:.2g} a token, largest ratio "
        f"{metrics['ratio_max']:.3g} (corrected by {correction})",
    )
