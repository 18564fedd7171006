"""Injects LoRA layers into a model: on every linear layer that an adapter can be put on."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from torch import nn
from transformers import PreTrainedModel

# peft refuses an adapter on their output projection, which fused kernels take as a bare weight.
_FUSED = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")


_EXPERTS = re.compile("expert|moe", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LoraShape:
    """The settings that must agree for an adapter to be loaded.

    `experts` is True where tensors that hold many experts are adapted as well.
    """

    rank: int
    alpha: int
    seed: int
    experts: bool = False


def attach(model: PreTrainedModel, shape: LoraShape) -> Any:
    """Inject LoRA layers into a model; returns peft's wrapper around it."""
    # No dropout: an update compares its log-probabilities with those of the sampler.
    config = LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules=unadapted(model) or None,
        target_parameters=(expert_tensors(model) or None) if shape.experts else None,
        task_type="CAUSAL_LM",
    )
    devices = [model.device] if model.device.type == "cuda" else []
    # peft draws initial weights from the global generator; `LoraAdapter.reset` replaces them.
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        # peft looks for its own patterns of experts among modules, where they match parameters.
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys did not match")
        wrapped = get_peft_model(model, config)
    _share_where_tied(model)
    return wrapped


def expert_tensors(model: nn.Module) -> list[str]:
    """Tensors that hold a matrix for each expert of a layer, by their names within a layer."""
    found = {
        within_layer(f"{name}.{tensor}")
        for name, module in model.named_modules()
        if _EXPERTS.search(type(module).__name__)
        for tensor, parameter in module.named_parameters(recurse=False)
        if parameter.ndim == 3 and "bias" not in tensor
    }
    return sorted(found)


def within_layer(name: str) -> str:
    """A tensor's name within its layer: `mlp.experts.down_proj`."""
    return re.split(r"\.\d+\.", name, maxsplit=1)[-1]


def _share_where_tied(model: nn.Module) -> None:
    """Give layers that share one weight (as in Zamba) one adapter, so that it can be merged."""
    first: dict[int, LoraLayer] = {}
    for layer in model.modules():
        if isinstance(layer, LoraLayer) and not isinstance(layer, ParamWrapper):
            one = first.setdefault(id(layer.get_base_layer().weight), layer)
            layer.lora_A, layer.lora_B = one.lora_A, one.lora_B


def unadapted(model: PreTrainedModel) -> list[str]:
    """Linear layers, besides the output layer, that no adapter is put on."""
    parameters = {name for name, _ in model.named_parameters()}
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        parent, _, last = name.rpartition(".")
        # Routers have a forward pass of their own, which an adapter would break. A state-space
        # layer takes the bare weight of `dt_proj`, so that an adapter would not be heard.
        if (
            "Router" in type(module).__name__
            or (last == "dt_proj" and f"{parent}.A_log" in parameters)
            or (last == "out_proj" and model.config.model_type in _FUSED)
        ):
            found.append(name)
    return found
