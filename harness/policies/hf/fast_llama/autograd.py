"""Operations of a frozen Llama with an adapter, with their gradients written out.

What has no gradient (the base weights) is neither saved nor computed, and an adapted product is one
product with the base and two thin ones, whatever the number of modules that it stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

Adapters = Sequence[tuple[Tensor, Tensor, float]]
"""A [rank, in], B [out, rank] and scale of each module, whose outputs stand side by side."""


class _Adapted(Function):
    """x ↦ W x + bias + scale B A x, for x [token, in]."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scales: tuple[float, ...],
        *factors: Tensor,
    ) -> Tensor:
        downs, ups = factors[: len(scales)], factors[len(scales) :]
        down = torch.cat(downs) if len(downs) > 1 else downs[0]
        thin = F.linear(x.to(down.dtype), down)
        y = F.linear(x, weight, bias)
        wide = y if y.dtype == thin.dtype else y.float()
        for part, low, up, scale in _parts(wide, thin, ups, scales):
            part.addmm_(low, up.t(), alpha=scale)
        ctx.save_for_backward(x, weight, thin, down, *ups)
        ctx.scales = scales
        return wide.to(y.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight, thin, down, *ups = ctx.saved_tensors
        wide = grad.to(thin.dtype)
        lows, of_ups = torch.empty_like(thin), []
        for (part, low, up, scale), into in zip(
            _parts(wide, thin, ups, ctx.scales), _columns(lows, ups), strict=True
        ):
            torch.mm(part, up, out=into).mul_(scale)
            of_ups.append(torch.mm(part.t(), low).mul_(scale))
        of_downs = torch.split(torch.mm(lows.t(), x.to(lows.dtype)), [up.shape[1] for up in ups])
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = torch.mm(grad, weight)
            thinly = torch.mm(lows, down)
            of_x = of_x.add_(thinly) if of_x.dtype == thinly.dtype else of_x + thinly.to(of_x.dtype)
        return of_x, None, None, None, *of_downs, *of_ups


def _columns(thin: Tensor, ups: Sequence[Tensor]) -> Sequence[Tensor]:
    return torch.split(thin, [up.shape[1] for up in ups], 1)


def _parts(
    wide: Tensor, thin: Tensor, ups: Sequence[Tensor], scales: Sequence[float]
) -> zip[tuple[Tensor, Tensor, Tensor, float]]:
    """Each module's columns of wide [token, out] and of thin [token, rank], its B and scale."""
    outs = torch.split(wide, [up.shape[0] for up in ups], 1)
    return zip(outs, _columns(thin, ups), ups, scales, strict=True)


_adapted: Any = _Adapted.apply  # which has no types


def adapted(x: Tensor, weight: Tensor, bias: Tensor | None, adapters: Adapters) -> Tensor:
    """X [token, in] to [token, out]; gradients go to x and to the adapters."""
    downs, ups, scales = zip(*adapters, strict=True)
    result: Tensor = _adapted(x, weight, bias, scales, *downs, *ups)
    return result


class _Norm(Function):
    """x ↦ weight · x / √(mean x² + ε) over the last dimension, with a frozen weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        inverse = torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(epsilon).rsqrt_()
        inverse = inverse[..., None]
        ctx.save_for_backward(x, weight, inverse)
        scaled: Tensor = weight * (wide * inverse).to(x.dtype)
        return scaled

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight, inverse = ctx.saved_tensors
        straight = (grad * weight).float().mul_(inverse)
        unit = x.float() * inverse
        along = torch.linalg.vecdot(straight, unit).div_(x.shape[-1])[..., None]
        return straight.addcmul_(unit, along, value=-1).to(x.dtype), None, None


_norm: Any = _Norm.apply


def normed(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMS norm, in float32 whatever x is; the gradient goes to x."""
    result: Tensor = _norm(x, weight, epsilon)
    return result
