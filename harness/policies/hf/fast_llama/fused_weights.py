"""The weights of a loaded Llama, fused into four products a layer.

Query, key and value are one product, as are gate and up. The fused tensors replace the model's own,
which become views of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

FAMILY = ("llama", "mistral", "qwen2", "qwen3")
_ROPES = ("default", "linear", "llama3")  # rotations that do not depend on the sequence length


def unsupported(model: PreTrainedModel) -> str | None:
    """The reason why the fast forward pass does not support this model; None where it does."""
    config: Any = model.config
    if config.model_type not in FAMILY:
        return f"its architecture is {config.model_type}"
    if getattr(config, "quantization_config", None) is not None:
        return "its weights are quantised"
    windows = {kind for kind in getattr(config, "layer_types", None) or () if "full" not in kind}
    if windows or (config.model_type == "mistral" and config.sliding_window is not None):
        return "its attention has a window"
    rope = config.rope_parameters["rope_type"]
    if rope not in _ROPES:
        return f"its positions are scaled by '{rope}'"
    if config.hidden_act not in ("silu", "swish"):
        return f"its activation is {config.hidden_act}"
    return None


class Projection:
    """Linear modules with the same input, fused into one product.

    Their weights become views of one tensor, so that fusing takes no memory. Modules are looked up
    in `parent` by name at each use, because peft replaces them when an adapter is attached.
    """

    def __init__(self, parent: nn.Module, names: Sequence[str]) -> None:
        self._parent, self._names = parent, names
        linears: list[Any] = [getattr(parent, name) for name in names]
        self._sizes = [linear.weight.shape[0] for linear in linears]
        self.weight: Tensor = linears[0].weight.detach()
        if len(linears) > 1:
            self.weight = torch.cat([linear.weight.detach() for linear in linears])
            for linear, part in zip(linears, torch.split(self.weight, self._sizes), strict=True):
                # The module keeps its parameter; only the storage behind it is another.
                linear.weight.data = part
        biases = [linear.bias for linear in linears]
        self.bias: Tensor | None = torch.cat(biases).detach() if biases[0] is not None else None

    @property
    def adapted(self) -> bool:
        """True once an adapter has been attached."""
        return isinstance(getattr(self._parent, self._names[0]), LoraLayer)

    @property
    def active(self) -> bool:
        """True while the adapter is attached and enabled."""
        first: Any = getattr(self._parent, self._names[0])
        return self.adapted and not first.disable_adapters

    def adapters(self) -> list[tuple[Tensor, Tensor, float]]:
        """LoRA A [rank, in], B [out, rank] and scale of each module."""
        layers = [getattr(self._parent, name) for name in self._names]
        return [
            (x.lora_A["default"].weight, x.lora_B["default"].weight, float(x.scaling["default"]))
            for x in layers
        ]

    def merge(self, into: Tensor) -> None:
        """Write the merged weights W + scale B A into a tensor of the same shape."""
        parts = zip(
            torch.split(into, self._sizes), torch.split(self.weight, self._sizes), strict=True
        )
        for (part, base), (a, b, scale) in zip(parts, self.adapters(), strict=True):
            torch.addmm(base, b, a, alpha=scale, out=part)


@dataclass(slots=True)
class Product:
    """x ↦ W x + bias, plus an unmerged adapter if there is one."""

    weight: Tensor
    bias: Tensor | None
    down: Tensor | None = None
    up: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Map […, in] to […, out]."""
        y = F.linear(x, self.weight, self.bias)
        if self.down is None or self.up is None:
            return y
        return (y + F.linear(F.linear(x.float(), self.down), self.up)).to(y.dtype)

    @staticmethod
    def beside(projection: Projection) -> Product:
        """A product whose adapters are applied beside it, as one pair of products in float32."""
        found = projection.adapters()
        down = torch.cat([a for a, _, _ in found]).float()
        blocks: Any = torch.block_diag  # which has no types
        # Block-diagonal, so that each module's B sees its own A only.
        up = blocks(*(scale * b.float() for _, b, scale in found))
        return Product(projection.weight, projection.bias, down, up)


class Norm:
    """RMS norm over the last dimension, computed in float32: x ↦ weight · x / √(mean x² + ε)."""

    def __init__(self, module: Any) -> None:  # each architecture has a class of its own
        self.weight: Tensor = module.weight.detach()
        self.epsilon = float(module.variance_epsilon)
        size = len(self.weight)
        # √(‖x‖² + size · ε) is one operation of a row's length and this.
        self._minimum = torch.full((), (size * self.epsilon) ** 0.5).to(self.weight.device)
        self._inverse_root = size**-0.5

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise; shape and dtype stay."""
        wide = x.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        root = torch.hypot(length, self._minimum).mul_(self._inverse_root)
        return (wide / root).to(x.dtype) * self.weight


@dataclass(frozen=True, slots=True)
class Norms:
    """The norms of one layer: before attention, before the MLP, and of queries and keys (Qwen3)."""

    attention: Norm
    network: Norm
    query: Norm | None
    key: Norm | None

    @staticmethod
    def of(block: Any) -> Norms:
        """The norms of a loaded layer."""
        before, after = Norm(block.input_layernorm), Norm(block.post_attention_layernorm)
        attention = block.self_attn
        if not hasattr(attention, "q_norm"):
            return Norms(before, after, None, None)
        return Norms(before, after, Norm(attention.q_norm), Norm(attention.k_norm))


class FusedLlama:
    """The parts of a loaded model that a forward pass needs.

    Making one fuses its weights in place.
    """

    def __init__(self, model: Any) -> None:  # a PreTrainedModel, whose parts have no types
        base = model.get_decoder()
        self.dtype, self.device = model.dtype, model.device
        self.rotary = base.rotary_emb
        self.embedding: Tensor = base.embed_tokens.weight.detach()
        self.final_norm = Norm(base.norm)
        self.head = model.get_output_embeddings()
        self.blocks = list(base.layers)
        attention = self.blocks[0].self_attn
        self.channels: int = attention.head_dim
        self.scale = float(attention.scaling)
        self.kv_heads: int = model.config.num_key_value_heads
        self.norms = [Norms.of(block) for block in self.blocks]
        self._rotations: tuple[Tensor, Tensor] | None = None
        self.projections = [
            (
                Projection(block.self_attn, ("q_proj", "k_proj", "v_proj")),
                Projection(block.self_attn, ("o_proj",)),
                Projection(block.mlp, ("gate_proj", "up_proj")),
                Projection(block.mlp, ("down_proj",)),
            )
            for block in self.blocks
        ]

    def rotation(self, positions: Tensor, limit: int) -> tuple[Tensor, Tensor]:
        """Cosine and signed sine [row, token, 1, channel] for positions [row, token] below `limit`.

        A channel's rotated value is itself · cosine + its partner half the channels away · sine.
        """
        if self._rotations is None or len(self._rotations[0]) < limit:
            # For twice the positions, so that growing texts seldom compute the table again.
            cos, sin = self.rotary(
                self.embedding[:1], torch.arange(2 * limit, device=self.device)[None]
            )
            half = self.channels // 2
            self._rotations = cos[0], torch.cat([-sin[0][:, :half], sin[0][:, half:]], -1)
        cos, sin = self._rotations
        return cos[positions][:, :, None], sin[positions][:, :, None]
