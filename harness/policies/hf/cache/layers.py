"""State of one layer: keys and values that grow in place, a recurrent state, or both."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

Change = Callable[[Tensor], Tensor]

_GROWTH = 64  # columns allocated at a time when a cache grows without gradients


class StateLayer:
    """State of one layer for every row of a batch, from which other states are made.

    Keys and values are [row, head, column, channel]. Recurrent states are [row, …], numbered in
    dictionaries.
    """

    def derive(self, rows: Change, columns: Change) -> Self:
        """A state whose tensors are these, changed: keys and values by `columns`."""
        return self._changed(
            lambda held, name, i: rows(held[name][i]), lambda held, name: columns(held[name])
        )

    def stack(self, others: Sequence[StateLayer], width: int) -> Self:
        """This state's rows and then those of others, columns padded on the left to `width`."""
        parts = [vars(part) for part in (self, *others)]
        return self._changed(
            lambda _, name, i: torch.cat([part[name][i] for part in parts]),
            lambda _, name: torch.cat([_padded(part[name], width) for part in parts]),
        )

    def _changed(self, rows: Callable[..., Tensor], columns: Callable[..., Tensor]) -> Self:
        new = copy.copy(self)
        held, changed = vars(self), vars(new)
        for name, value in held.items():
            if isinstance(value, dict):
                # Copied in any case: transformers notes there which states there are.
                changed[name] = {
                    i: rows(held, name, i) if isinstance(x, Tensor) else x for i, x in value.items()
                }
            elif name in ("keys", "values") and isinstance(value, Tensor):
                changed[name] = columns(held, name)
        changed["_storage"] = None
        return new


class GrowingLayer(StateLayer, DynamicLayer):  # type: ignore[no-untyped-call]  # transformers has no types here
    """Keys and values that grow in place; with gradients they are concatenated."""

    keys: Tensor
    values: Tensor
    _storage: tuple[Tensor, Tensor] | None = None

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers has no types here

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append columns [row, head, new column, channel]; returns all columns."""
        # Writing in place would change tensors that the backward pass still needs.
        if torch.is_grad_enabled():
            return super().update(key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        if self._storage is None or new > self._storage[0].shape[-2]:
            self._storage = (
                _grown(self.keys, key_states, new),
                _grown(self.values, value_states, new),
            )
        keys, values = self._storage
        keys[:, :, old:new], values[:, :, old:new] = key_states, value_states
        self.keys, self.values = keys[:, :, :new], values[:, :, :new]
        return self.keys, self.values


class RecurrentLayer(StateLayer, LinearAttentionLayer):
    """Convolutional and recurrent states, which transformers changes in place.

    A layer that keeps nothing, such as a feed-forward layer of its own, has an empty one.
    """


class RecurrentAttentionLayer(  # type: ignore[misc,override,no-untyped-call]  # as its parent is
    GrowingLayer, LinearAttentionAndFullAttentionLayer
):
    """A recurrent state beside keys and values."""

    def __init__(self, number_of_states: int) -> None:
        LinearAttentionAndFullAttentionLayer.__init__(self, number_of_states)


def new_layers(config: Any) -> list[StateLayer]:
    """Empty states of a model's layers.

    Sliding windows keep every column: which of them a row sees, its mask and window decide.

    Raises:
        ValueError: A layer keeps a state of another kind, which is named.
    """
    made: list[StateLayer] = []
    own = config.model_type == "recurrent_gemma"
    theirs: list[Any] = DynamicCache(config=config).layers
    for index, layer in enumerate(theirs):
        # By exact class, because a subclass may keep another state beside these.
        kind = type(layer)
        if own and config.layers_block_type[index] == "recurrent":
            # Whose cache has one of keys and values there, which stays empty.
            made.append(RecurrentLayer())
        elif kind in (DynamicLayer, DynamicSlidingWindowLayer):
            made.append(GrowingLayer())
        elif kind is LinearAttentionLayer:
            made.append(RecurrentLayer(layer.number_of_states))
        elif kind in (
            LinearAttentionAndFullAttentionLayer,
            LinearAttentionAndSlidingWindowAttentionLayer,
        ):
            made.append(RecurrentAttentionLayer(layer.number_of_states))
        else:
            raise ValueError(kind.__name__)
    return made


def _padded(x: Tensor, width: int) -> Tensor:
    missing = width - x.shape[2]
    return torch.cat([x.new_zeros(*x.shape[:2], missing, x.shape[3]), x], 2) if missing else x


def _grown(have: Tensor, more: Tensor, columns: int) -> Tensor:
    rows, heads, _, channels = more.shape
    # With columns to spare, so that most steps copy nothing.
    storage = more.new_empty(rows, heads, columns + _GROWTH, channels)
    if have.numel():
        storage[:, :, : have.shape[-2]] = have
    return storage
