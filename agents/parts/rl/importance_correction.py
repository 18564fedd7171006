"""When sampler and trainer do not agree on how likely a token was.

The sampler's recorded log-probability and the trainer's own, before its step, should be equal, and
differ by rounding, by another engine, or because the trainer reads the reply in another context.
A correction takes the trainer's as π_old and weighs each term by w = π_old / π_sampler, bounded.
There is one gradient step a round, so the trainer's own is `new` without its gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from harness.policies.base import TokenBatch

if TYPE_CHECKING:
    from torch import Tensor

CorrectionName = Literal[
    "bypass", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask", "hard_clip"
]

CAPS: Mapping[str, float] = {
    "bypass": float("inf"),
    "token_truncate": 2.0,  # verl's token TIS
    "token_mask": 3.0,
    "sequence_truncate": 3.0,
    "sequence_mask": 3.0,  # TRL's default
    "hard_clip": 10.0,  # P2O, which lets 0.01 … 10 through
}
FORMULAS: Mapping[str, str] = {
    "token_truncate": "min(w, {cap})",
    "token_mask": "w where w ≤ {cap}, else 0",
    "sequence_truncate": "min(Π_t w, {cap})",
    "sequence_mask": "Π_t w where that is ≤ {cap}, else 0",
    "hard_clip": "1 where 0.01 ≤ w ≤ {cap}, else 0",
}
_FLOOR = 0.01


@dataclass(frozen=True, slots=True)
class Correction:
    """Which weight, and where it ends. "bypass" takes the sampler's word: π_old := π_sampler."""

    name: CorrectionName = "bypass"
    cap: float = float("inf")

    @classmethod
    def of(cls, name: CorrectionName, cap: float | None = None) -> Correction:
        """With its usual cap where none is given."""
        return cls(name, CAPS[name] if cap is None else cap)


BYPASS = Correction()


def corrected(batch: TokenBatch, correction: Correction) -> tuple[TokenBatch, Tensor | None]:
    """The batch against π_old, and what each term is to be multiplied by (None: nothing).

    The weight is [sequence, token] or [sequence, 1], without gradient. A product over tokens falls
    or grows with length, so that long replies are the first to be left out; both are as in TRL.
    """
    name, cap = correction.name, correction.cap
    if name == "bypass":
        return batch, None
    new = batch.new.detach()
    apart = (new - batch.old).masked_fill(batch.mask == 0, 0.0)
    if name.startswith("sequence"):
        apart = apart.sum(-1, keepdim=True)
    weight = apart.exp()
    if name.endswith("truncate"):
        weight = weight.clamp(max=cap)
    elif name.endswith("mask"):
        weight = weight.masked_fill(weight > cap, 0.0)
    else:
        weight = ((weight >= _FLOOR) & (weight <= cap)).to(weight.dtype)
    return replace(batch, old=new), weight
