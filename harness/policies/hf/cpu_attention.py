"""Grouped-query attention on a CPU without copying keys and values.

With grouped-query attention and a mask, transformers repeats every key and value for each query
head of its group before calling PyTorch's kernel. On a CPU that copy costs more than the rest of
a decoding step (measured with SmolLM2-135M, 32 rows, 300 tokens: 0.9 s against 0.24 s). PyTorch's
CPU kernel can read the shared heads in place; without gradients it is called that way.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "sdpa_shared_heads"


def _shared_heads(
    module: torch.nn.Module,
    query: Tensor,  # [row, query head, token, channel]
    key: Tensor,  # [row, shared head, column, channel]
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    # Without a mask transformers' function decides on causality, and can share the heads.
    if (
        torch.is_grad_enabled()
        or attention_mask is None
        or options.get("position_bias") is not None
    ):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    mixed = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=options.get("scaling"), enable_gqa=True
    )
    return mixed.transpose(1, 2).contiguous(), None


def share_heads(model: PreTrainedModel) -> None:
    """Install it in a model on a CPU that uses PyTorch's attention; leave other models alone."""
    if model.device.type != "cpu" or model.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(NAME, _shared_heads)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
