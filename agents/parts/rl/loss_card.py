"""The card of a loss: its formula with all numbers filled in, and a fingerprint.

The same loss name means different losses in different trainers; two are the same where value and
gradient agree. The fingerprint is a hash of both on a fixed batch, with ratios on both sides of
every usual clip.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from agents.parts.rl import importance_correction, kl, losses
from agents.parts.rl.advantages import OVERLONG_BUFFER, STD_FLOOR
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
    "punish": f"lose up to 1 over the last {100 * OVERLONG_BUFFER:.0f} % of the token limit",
}


def build_loss(
    config: WeightsConfig, max_tokens: int, zero_advantage: BatchSize
) -> losses.BuiltLoss:
    """The loss that these settings describe."""
    return losses.build(
        config.loss,
        clip_low=config.clip_low,
        clip_high=config.clip_high,
        clip=config.clip,
        kl=config.kl,
        kl_form=config.kl_form,
        correction=Correction.of(config.correction, config.correction_cap),
        max_tokens=max_tokens,
        zero_advantage=zero_advantage,
    )


def card(config: WeightsConfig, sampling: Sampling) -> tuple[str, ...]:
    """The optimised objective, one line per aspect; the last line is the fingerprint."""
    recipe = losses.LOSSES[config.loss]
    low, high = losses.bounds(config.loss, config.clip_low, config.clip_high, config.clip)
    numbers = {"low": f"{low:g}", "high": f"{high:g}", "limit": str(sampling.max_tokens)}
    formula = _filled(recipe.formula, numbers)
    if config.kl:
        formula += f" − {config.kl:g} · ({kl.FORMULAS[config.kl_form]}) on every token"
    scope = "its own group" if config.baseline == "prompt" else "all replies to the problem"
    compares, drops = losses.group_rules(config.loss, config.advantage, config.zero_std_groups)
    count = "are left out" if drops else "count in the mean"
    return (
        f"loss {config.loss}: maximise {formula}",
        f"advantage: {_COMPARES[compares]}, over {scope}",
        f"groups without spread {count}; overlong replies {_OVERLONG[config.overlong]}",
        f"ratio: {_ratio(config, sampling)}",
        "S sequences (replies), T_i tokens of reply i, T tokens in all; d = log π_start − log π",
        f"step: Adam {config.learning_rate:g}, betas {config.beta1:g} and {config.beta2:g}, "
        f"gradient norm at most {config.max_grad_norm:g}, one step a round",
        _fingerprint(build_loss(config, sampling.max_tokens, BatchSize(0, 0))),
    )


def _filled(formula: str, numbers: dict[str, str]) -> str:
    for name, value in numbers.items():
        formula = formula.replace(f"{{{name}}}", value)
    return formula


def _ratio(config: WeightsConfig, sampling: Sampling) -> str:
    among = ""
    if sampling.top_p < 1:
        kind = "among those" if config.renormalise else "not renormalised to those"
        among = f", {kind} that top-p {sampling.top_p:g} lets through"
    against = "the sampler's"
    if config.correction != "none":
        correction = Correction.of(config.correction, config.correction_cap)
        weight = _filled(
            importance_correction.FORMULAS[config.correction], {"cap": f"{correction.cap:g}"}
        )
        against = f"the trainer's own before the step; terms × {weight}, w = π_old / π_sampler"
    return f"r = π / π_old at temperature {sampling.temperature:g}{among}; π_old is {against}"


def fixture() -> TokenBatch:
    """A batch of four completions of up to five tokens, independent of any model or seed."""
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
    # Seven digits: enough to tell losses apart, and the same on every machine.
    shown = " ".join(f"{number:.6e}" for number in [value.item(), *(g + 0.0 for g in gradient)])
    norm = sum(g * g for g in gradient) ** 0.5
    # Whether a gradient of 0 has a sign depends on the machine.
    digest = hashlib.sha256(shown.replace("-0.000000e+00", "0.000000e+00").encode()).hexdigest()
    return f"fingerprint {digest[:12]} (value {value.item():.6g}, gradient norm {norm:.6g})"
