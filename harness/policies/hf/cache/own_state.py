"""Cache object of a model for its layers' states, also where an architecture has its own way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache
from transformers.models.minimax.modeling_minimax import MiniMaxCache

from harness.policies.hf.cache.layers import RecurrentLayer, StateLayer


@contextmanager
def cache_of(model: Any, layers: Sequence[StateLayer]) -> Iterator[Cache]:
    """The cache to hand to a model; the layers hold the new states after the `with` block."""
    kind = model.config.model_type
    if kind == "minimax":
        yield _MiniMaxCache(layers)
    elif kind == "recurrent_gemma":
        with _states_in_modules(model, layers):
            yield Cache(layers=list(layers))  # type: ignore[arg-type]
    else:
        yield Cache(layers=list(layers))  # type: ignore[arg-type]


class _MiniMaxCache(MiniMaxCache):
    """MiniMax's cache, which keeps its linear layers' states in a list beside the layers."""

    def __init__(self, layers: Sequence[StateLayer]) -> None:
        Cache.__init__(self, layers=list(layers))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.layers)

    def get_linear_cache(self, layer_idx: int) -> Tensor | None:
        """The state of a linear layer, None before its first piece."""
        return self._linear(layer_idx).recurrent_states[0]

    def set_linear_cache(self, layer_idx: int, linear_cache: Tensor) -> None:
        """Keep the state of a linear layer."""
        self._linear(layer_idx).recurrent_states[0] = linear_cache

    def _linear(self, index: int) -> RecurrentLayer:
        layer = self.layers[index]
        assert isinstance(layer, RecurrentLayer)
        return layer


@contextmanager
def _states_in_modules(model: Any, layers: Sequence[StateLayer]) -> Iterator[None]:
    """RecurrentGemma's states, which its modules keep themselves, within a `with` block."""
    blocks = [
        (layer.temporal_block, held)
        for layer, held in zip(model.model.layers, layers, strict=True)
        if isinstance(held, RecurrentLayer)
    ]
    for block, held in blocks:
        block.conv1d_state = held.conv_states[0]
        block.rg_lru.recurrent_states = held.recurrent_states[0]
    try:
        yield
    finally:
        for block, held in blocks:
            held.conv_states[0] = block.conv1d_state
            held.recurrent_states[0] = block.rg_lru.recurrent_states
            block.conv1d_state = block.rg_lru.recurrent_states = None
