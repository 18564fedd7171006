"""Injects LoRA layers into a model: on every linear layer but the output layer and routers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class LoraShape:
    """The settings that must agree for an adapter to be loaded."""

    rank: int
    alpha: int
    seed: int


def attach(model: PreTrainedModel, shape: LoraShape) -> Any:
    """Inject LoRA layers into a model; returns peft's wrapper around it."""
    # No dropout: an update compares its log-probabilities with those of the sampler.
    config = LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules=routers(model) or None,
        task_type="CAUSAL_LM",
    )
    devices = [model.device] if model.device.type == "cuda" else []
    # peft draws initial weights from the global generator; `LoraAdapter.reset` replaces them.
    with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
        # peft looks for its own patterns of experts among modules, where they match parameters.
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys did not match")
        return get_peft_model(model, config)


def routers(model: nn.Module) -> list[str]:
    """Linear layers with a forward pass of their own, which an adapter would break."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "Router" in type(module).__name__
    ]
