"""The part of a model's weights that a LoRA adapter on all linear layers reaches.

Mixtures of experts keep their experts in one tensor, which peft adapts for some architectures;
where it does, it passes over shared experts and dense layers with the same names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora.layer import ParamWrapper
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.policies.hf.adapters.lora_layers import LoraShape, attach, unadapted, within_layer

_NAMED = 4  # parts of the model that a note names


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share of weights in matrices that the adapter covers, and the parts that it leaves out.

    Embeddings and the output layer are not counted: no adapter is meant for them.
    """

    share: float
    left_out: tuple[str, ...]

    @property
    def identity(self) -> str:
        """The parts left out, for the Track; "" where there are none."""
        return f"without {', '.join(self.left_out)}" if self.left_out else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """A remark for users where something is left out."""
        if not self.left_out:
            return ()
        more = len(self.left_out) - _NAMED
        named = ", ".join(self.left_out[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        share = f"{100 * self.share:.0f} %"
        return (f"Training adapts {share} of the weights in matrices: not those of {named}.",)


def measure_coverage(model: PreTrainedModel, experts: bool = False) -> Coverage:
    """Measure it for a loaded model without changing the model; see `LoraShape.experts`."""
    if not _has_other_matrices(model):
        return Coverage(1.0, ())
    make: Any = AutoModelForCausalLM.from_config  # which has no types
    # A copy without contents: attaching an adapter changes a model for good.
    with torch.device("meta"):
        copy = make(model.config)
        attach(copy, LoraShape(rank=1, alpha=1, seed=0, experts=experts))
    covered = {
        id(parameter)
        for layer in copy.modules()
        if isinstance(layer, BaseTunerLayer)
        for parameter in _adapted(layer)
    }
    every = _matrices(copy)
    total = sum(p.numel() for _, p in every)
    reached = sum(p.numel() for _, p in every if id(p) in covered)
    left = {_part(name) for name, p in every if id(p) not in covered}
    return Coverage(reached / total if total else 1.0, tuple(sorted(left)))


def _adapted(layer: BaseTunerLayer) -> Sequence[torch.Tensor]:
    if isinstance(layer, ParamWrapper):
        return [layer.get_param()]
    return [layer.get_base_layer().weight]


def _has_other_matrices(model: PreTrainedModel) -> bool:
    """True where a matrix belongs to no adapted linear layer, as in mixtures of experts."""
    left_out = set(unadapted(model))
    plain = {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name not in left_out
    }
    return any(id(p) not in plain for _, p in _matrices(model))


def _matrices(model: Any) -> list[tuple[str, nn.Parameter]]:
    left = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    if (head := model.get_output_embeddings()) is not None:
        left.add(id(head.weight))
    own = (item for item in model.named_parameters() if "lora_" not in item[0])
    # A bias for each expert is a matrix in form only.
    return [(n, p) for n, p in own if p.ndim > 1 and id(p) not in left and "bias" not in n]


def _part(name: str) -> str:
    """A tensor's name within its layer: `mlp.experts.down_proj`."""
    return re.sub(r"\.base_layer|\.weight$|\.\d+(?=\.)", "", within_layer(name))
