"""LoRA linear layers and RMS norm as autograd functions, for a frozen base model.

No gradient of the base weights is computed or saved. Fused modules (query, key and value, say) cost
one product with the base weight and two thin products with the LoRA factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

Adapters = Sequence[tuple[Tensor, Tensor, float]]
"""LoRA A [rank, in], B [out, rank] and scale of each fused module; outputs are concatenated."""


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
        # Added up in the factors' own float32, and rounded once at the end.
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
        lows, grad_ups = torch.empty_like(thin), []
        for (part, low, up, scale), into in zip(
            _parts(wide, thin, ups, ctx.scales), _columns(lows, ups), strict=True
        ):
            torch.mm(part, up, out=into).mul_(scale)
            grad_ups.append(torch.mm(part.t(), low).mul_(scale))
        grad_downs = torch.split(torch.mm(lows.t(), x.to(lows.dtype)), [up.shape[1] for up in ups])
        grad_x = None
        # The first layer's input comes from frozen embeddings and needs no gradient.
        if ctx.needs_input_grad[0]:
            grad_x = torch.mm(grad, weight)
            through_adapter = torch.mm(lows, down)
            grad_x = (
                grad_x.add_(through_adapter)
                if grad_x.dtype == through_adapter.dtype
                else grad_x + through_adapter.to(grad_x.dtype)
            )
        return grad_x, None, None, None, *grad_downs, *grad_ups


def _columns(thin: Tensor, ups: Sequence[Tensor]) -> Sequence[Tensor]:
    return torch.split(thin, [up.shape[1] for up in ups], 1)


def _parts(
    wide: Tensor, thin: Tensor, ups: Sequence[Tensor], scales: Sequence[float]
) -> zip[tuple[Tensor, Tensor, Tensor, float]]:
    """Each module's columns of wide [token, out] and thin [token, rank], its B and its scale."""
    outs = torch.split(wide, [up.shape[0] for up in ups], 1)
    return zip(outs, _columns(thin, ups), ups, scales, strict=True)


_adapted: Any = _Adapted.apply  # which has no types


def adapted(x: Tensor, weight: Tensor, bias: Tensor | None, adapters: Adapters) -> Tensor:
    """Apply adapted linear modules to x [token, in]; returns [token, out].

    Gradients flow to x and to the LoRA factors.
    """
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
        # With u = x / rms and g the gradient: dx = (weight g − u · mean(weight g u)) / rms.
        scaled_grad = (grad * weight).float().mul_(inverse)
        unit = x.float() * inverse
        projection = torch.linalg.vecdot(scaled_grad, unit).div_(x.shape[-1])[..., None]
        return scaled_grad.addcmul_(unit, projection, value=-1).to(x.dtype), None, None


_norm: Any = _Norm.apply


def normed(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMS norm, computed in float32 for any dtype; the gradient flows to x only."""
    result: Tensor = _norm(x, weight, epsilon)
    return result
