"""Initialisation of attention: some heads look a few tokens back, some look up a sign.

A small model learns such heads by itself, but late: from a random start it had not learnt to look
up a sign after three million tokens. So the start gives a hint that training may keep or drop.
Other weights stay random.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

LOOK_BACK = ((1, 2, 3), (1,), (1, 2))
"""How many tokens back the first heads of the first layers look."""
_SHARPNESS = (40.0, 20.0, 10.0)
_STEADY = 7
"""From this channel pair on, rotary embedding turns so slowly that contents can be compared over
the length of a document.
"""
_WRITTEN = 0.12
_COMPARED = 2.0


def orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Random orthonormal rows."""
    return torch.linalg.qr(torch.randn(columns, rows, generator=generator))[0].T


@torch.no_grad()
def start(model: LlamaForCausalLM, generator: torch.Generator) -> None:
    """Give the hint to a freshly made model."""
    for layer, offsets in enumerate(LOOK_BACK):
        look_back(model, layer, offsets)
    look_up(model, generator)


def look_back(model: LlamaForCausalLM, layer: int, offsets: Sequence[int]) -> None:
    """Let a layer's first heads look at the token so many places back, by their biases alone.

    Rotary embedding turns channel pair i by i's frequency for each token between query and key, so
    a query turned back by the offset meets its key there.
    """
    attention = model.model.layers[layer].self_attn
    size = attention.head_dim
    frequencies = model.model.rotary_emb.inv_freq
    for head, offset in enumerate(offsets):
        for i, sharpness in enumerate(_SHARPNESS):
            angle = offset * frequencies[i]
            first, second = head * size + i, head * size + i + size // 2
            attention.k_proj.bias[first] = sharpness**0.5
            attention.q_proj.bias[first] = sharpness**0.5 * torch.cos(angle)
            attention.q_proj.bias[second] = -(sharpness**0.5) * torch.sin(angle)


def look_up(model: LlamaForCausalLM, generator: torch.Generator) -> None:
    """In "dax means the larger … dax means the" let the second layer's last heads, at the second
    "the", find the token that stood three places after the same sign, and say it again.

    The first layer's heads that look two and three back read alike and write apart; the second
    layer compares what the one wrote at the query with what the other wrote at the key.
    """
    size = model.model.layers[0].self_attn.head_dim
    width = model.config.hidden_size
    first, second = (model.model.layers[i].self_attn for i in (0, 1))
    read = orthonormal(size, width, generator)
    places = orthonormal(2 * size, width, generator)
    for head, place in ((1, places[:size]), (2, places[size:])):
        first.v_proj.weight[head * size : (head + 1) * size] = read
        first.o_proj.weight[:, head * size : (head + 1) * size] = _WRITTEN * place.T
    steady = [i for i in range(size) if i % (size // 2) >= _STEADY]
    for head in (2, 3):
        kept = orthonormal(len(steady), size, generator)
        rows = [head * size + i for i in steady]
        second.q_proj.weight[rows] = _COMPARED * kept @ places[:size]
        second.k_proj.weight[rows] = _COMPARED * kept @ places[size:]
        copied = orthonormal(size, width, generator)
        second.v_proj.weight[head * size : (head + 1) * size] = copied
        second.o_proj.weight[:, head * size : (head + 1) * size] = _WRITTEN * copied.T
