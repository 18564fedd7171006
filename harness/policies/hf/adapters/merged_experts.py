"""Experts with their adapter merged in, kept while completions are sampled.

A mixture of experts keeps all experts of a layer in one tensor. peft adds the adapter to all of it
at every pass, though a decoding step uses few experts: with 64 of them a step takes 28 times as
long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class MergedExperts:
    """The merged tensors of a model's expert layers, made when first needed without gradients.

    They take as much memory as the experts themselves, until `clear`.
    """

    def __init__(self, model: nn.Module) -> None:
        from peft.tuners.lora.layer import ParamWrapper

        self._merged: dict[int, Tensor] = {}
        for layer in model.modules():
            if isinstance(layer, ParamWrapper):
                layer.forward = self._replacement(layer, layer.forward)

    def clear(self) -> None:
        """Drop the tensors, because the adapter has changed or memory is needed."""
        self._merged.clear()

    def _replacement(self, layer: Any, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if torch.is_grad_enabled() or layer.disable_adapters:
                return original(x, *args, **kwargs)
            parameter = layer.get_param()
            base = parameter.data
            parameter.data = self._merge(layer, base)
            try:
                result: Tensor = layer.base_layer(x, *args, **kwargs)
            finally:
                parameter.data = base
            return result

        return forward

    def _merge(self, layer: Any, base: Tensor) -> Tensor:
        if id(layer) in self._merged:
            return self._merged[id(layer)]
        # Sampling is in inference mode, whose tensors other passes could not use.
        with torch.inference_mode(False), torch.no_grad():
            if layer.num_experts > 1:
                # The same operation as in peft's pass with gradients, so the numbers are the same.
                left, right, scale = layer.get_delta_factors("default")
                merged = torch.baddbmm(base, left, right, alpha=scale)
            else:
                merged = base + layer.get_delta_weight("default")
        self._merged[id(layer)] = merged
        return merged
