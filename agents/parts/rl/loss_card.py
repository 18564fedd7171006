"""The identity card of a loss: its formula with all numbers in, and a fingerprint.

Two trainers that name the same loss mean the same one only where value and gradient agree. The
fingerprint is taken from both on a fixed batch, with ratios on both sides of every usual clip.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from agents.parts.rl import importance_correction, kl, losses
from agents.parts.rl.advantages import BUFFER, STD_FLOOR
from agents.parts.rl.importance_correction import Correction
from harness.policies.base import BatchSize, Loss, Sampling, TokenBatch

if TYPE_CHECKING:
    from agents.parts.rl.config import WeightsConfig

_COMPARES = {
    "mean": "A = R − mean",
    "normalised": f"A = (R − mean) / (std + {STD_FLOOR:g})",
    "leave_one_out": "A = R − mean of the others",
}
_OVERLONG = {
    "keep": "keep what they scored",
    "mask": "count in the mean, and carry no gradient",
    "punish": f"lose up to 1 over the last {BUFFER:.0%} of the token limit",
}


def configured(config: WeightsConfig, max_tokens: int, idle: BatchSize) -> losses.BuiltLoss:
    """The loss that these settings come to."""
    return losses.build(
        config.loss,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        clip=config.clip,
        kl=config.kl,
        kl_form=config.kl_form,
        correction=Correction.of(config.correction, config.correction_cap),
        max_tokens=max_tokens,
        idle=idle,
    )


def card(config: WeightsConfig, acting: Sampling) -> tuple[str, ...]:
    """What is minimised, one line each; the last is the fingerprint."""
    recipe = losses.LOSSES[config.loss]
    low, high = losses.bounds(config.loss, config.clip_low, config.clip_high, config.clip)
    numbers = {"low": f"{low:g}", "high": f"{high:g}", "limit": str(acting.max_tokens)}
    formula = _filled(recipe.formula, numbers)
    if config.kl:
        formula += f" − {config.kl:g} · ({kl.FORMULAS[config.kl_form]}) on every token"
    scope = "its own group" if config.baseline == "prompt" else "all replies to the problem"
    compares = recipe.compares if config.advantage == "own" else config.advantage
    drops = config.constant == "drop" or (config.constant == "own" and recipe.drops)
    count = "are left out" if drops else "count in the mean"
    return (
        f"loss {config.loss}: maximise {formula}",
        f"advantage: {_COMPARES[compares]}, over {scope}",
        f"groups without spread {count}; overlong replies {_OVERLONG[config.overlong]}",
        f"ratio: {_ratio(config, acting)}",
        "S sequences (replies), T_i tokens of reply i, T tokens in all; d = log π_start − log π",
        f"step: Adam {config.learning_rate:g}, betas {config.beta1:g} and {config.beta2:g}, "
        f"gradient norm at most {config.max_grad_norm:g}, one step a round",
        _fingerprint(configured(config, acting.max_tokens, BatchSize(0, 0))),
    )


def _filled(formula: str, numbers: dict[str, str]) -> str:
    for name, value in numbers.items():
        formula = formula.replace(f"{{{name}}}", value)
    return formula


def _ratio(config: WeightsConfig, acting: Sampling) -> str:
    among = ""
    if acting.top_p < 1:
        kind = "among those" if config.renormalise else "not renormalised to those"
        among = f", {kind} that top-p {acting.top_p:g} lets through"
    against = "the sampler's"
    if config.correction != "bypass":
        correction = Correction.of(config.correction, config.correction_cap)
        weight = _filled(
            importance_correction.FORMULAS[config.correction], {"cap": f"{correction.cap:g}"}
        )
        against = f"the trainer's own before the step; terms × {weight}, w = π_old / π_sampler"
    return f"r = π / π_old at temperature {acting.temperature:g}{among}; π_old is {against}"


def fixture() -> TokenBatch:
    """Four replies of up to five tokens; all numbers are written here."""
    import torch

    def rows(*values: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64)

    old = rows(
        (-0.3, -1.2, -2.5, -0.1, -0.7),
        (-1.0, -0.2, -3.0, -0.4, 0.0),
        (-0.6, -1.5, 0.0, 0.0, 0.0),
        (-2.0, -0.9, -0.5, 0.0, 0.0),
    )
    moved = rows(
        (0.05, -0.1, 0.4, -0.03, 0.2),
        (-0.5, 0.1, 1.8, -0.2, 0.0),
        (0.0002, -0.0003, 0.0, 0.0, 0.0),
        (-1.5, 0.25, -0.3, 0.0, 0.0),
    )
    mask = rows((1, 1, 1, 1, 1), (1, 1, 1, 1, 0), (1, 1, 0, 0, 0), (1, 1, 1, 0, 0))
    new = (old + moved).requires_grad_()
    return TokenBatch(new, old, old - moved / 2, rows((0.75,), (-0.5,), (0.5,), (-0.75,)), mask)


def _fingerprint(loss: Loss) -> str:
    try:
        batch = fixture()
    except ImportError:
        return "fingerprint: not computed, torch is not installed"
    value = loss(batch, BatchSize(4, 14))
    value.backward()  # type: ignore[no-untyped-call]  # torch has no types here
    assert batch.new.grad is not None
    gradient = [number for row in batch.new.grad.tolist() for number in row]
    shown = " ".join(f"{number:.6e}" for number in [value.item(), *(g + 0.0 for g in gradient)])
    norm = sum(g * g for g in gradient) ** 0.5
    digest = hashlib.sha256(shown.replace("-0.000000e+00", "0.000000e+00").encode()).hexdigest()
    return f"fingerprint {digest[:12]} (value {value.item():.6g}, gradient norm {norm:.6g})"
