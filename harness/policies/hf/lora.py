"""The trainable part of a model: a LoRA adapter on every linear layer, and its AdamW optimizer.

Tensors are saved and loaded by name, as safetensors; nothing is pickled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from peft.tuners.lora.layer import ParamWrapper
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from transformers import PreTrainedModel

from harness.errors import ModelError
from harness.policies.hf.adapters.lora_layers import LoraShape, attach
from harness.policies.hf.adapters.merged_experts import MergedExperts

_OPTIMIZER_PARTS = ("step", "exp_avg", "exp_avg_sq")


class LoraAdapter:
    """LoRA layers injected into `model`, in float32, and AdamW over them in a fixed order."""

    def __init__(self, model: PreTrainedModel, shape: LoraShape) -> None:
        self.shape = shape
        self.wrapped = attach(model, shape)
        self._experts = MergedExperts(model)
        self._named = [(n, m) for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)]
        self._layers = [layer for _, layer in self._named]
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.parameters: dict[str, torch.nn.Parameter] = dict(sorted(trained.items()))
        self._enabled = True
        self.reset()

    def reset(self) -> None:
        """Initialise: A from the seed, equal on every device; B zero; a new optimizer."""
        generator = torch.Generator().manual_seed(self.shape.seed)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                first = torch.zeros(parameter.shape)
                if "lora_A" in name or "lora_embedding_A" in name:
                    # peft's own choice for A; with B at zero the adapter changes nothing at first.
                    torch.nn.init.kaiming_uniform_(first, a=math.sqrt(5), generator=generator)
                parameter.copy_(first)
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=0.0, eps=1e-8, weight_decay=0.0, foreach=False
        )

    @contextmanager
    def switched(self, on: bool) -> Iterator[None]:
        """Enable or disable the adapter within a `with` block."""
        before = self._enabled
        self._switch(on)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, on: bool) -> None:
        if on == self._enabled:
            return
        for layer in self._layers:
            layer.enable_adapters(on)
        self._enabled = on

    def layers(self) -> list[tuple[str, BaseTunerLayer]]:
        """The adapted layers by name."""
        return self._named

    def weights(self) -> dict[str, Tensor]:
        """The adapter's tensors by name."""
        # safetensors refuses tensors that are not contiguous.
        return {name: p.detach().contiguous() for name, p in self.parameters.items()}

    def optimizer_state(self) -> dict[str, Tensor]:
        """The optimizer's tensors, named `parameter.part`; empty before the first step."""
        state = self.optimizer.state
        return {
            f"{name}.{part}": state[parameter][part].detach().contiguous()
            for name, parameter in self.parameters.items()
            if parameter in state
            for part in _OPTIMIZER_PARTS
        }

    def restore(self, weights: Mapping[str, Tensor], optimizer_state: Mapping[str, Tensor]) -> None:
        """Load the tensors that `weights` and `optimizer_state` returned.

        Raises:
            ModelError: They are of another model or adapter.
        """
        expected = {name: tuple(p.shape) for name, p in self.parameters.items()}
        if {name: tuple(w.shape) for name, w in weights.items()} != expected:
            raise ModelError(
                "The saved adapter does not fit this model: load it with the model and the "
                "lora_rank that it was trained with."
            )
        wrong = [n for n, w in {**weights, **optimizer_state}.items() if not w.isfinite().all()]
        shapes = {f"{name}.exp_avg": shape for name, shape in expected.items()}
        shapes |= {f"{name}.exp_avg_sq": shape for name, shape in expected.items()}
        shapes |= {f"{name}.step": () for name in expected}
        wrong += [n for n, t in optimizer_state.items() if tuple(t.shape) != shapes.get(n)]
        if wrong:
            raise ModelError(
                f"The saved {wrong[0]} is damaged: it holds no finite numbers of the right shape."
            )
        # Also for a new optimizer: no moments from before may outlive the checkpoint.
        self.reset()
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])
        for name, parameter in self.parameters.items():
            if f"{name}.step" not in optimizer_state:
                continue
            parts = {part: optimizer_state[f"{name}.{part}"] for part in _OPTIMIZER_PARTS}
            # AdamW counts its steps on the CPU.
            self.optimizer.state[parameter] = {
                part: tensor.to("cpu" if part == "step" else parameter.device, copy=True)
                for part, tensor in parts.items()
            }

    def deltas(self) -> dict[str, Tensor]:
        """The adapter's contribution to each base weight, in float32, by the weight's name."""
        found: dict[str, Tensor] = {}
        seen = set()  # layers with one weight have one adapter
        for name, module in self.wrapped.base_model.model.named_modules():
            if not isinstance(module, BaseTunerLayer):
                continue
            if not isinstance(module, ParamWrapper):
                if id(module.lora_A) in seen:
                    continue
                seen.add(id(module.lora_A))
            # Wrappers of the tensors of one module stand inside each other.
            part = module.parameter_name if isinstance(module, ParamWrapper) else "weight"
            weight = f"{name.replace('.base_layer', '')}.{part}"
            found[weight] = module.get_delta_weight("default").detach().float()
        return found

    def drop_merged(self) -> None:
        """Drop experts merged for sampling: the weights have changed, or memory is needed."""
        self._experts.clear()
