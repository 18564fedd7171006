"""Transformers' own forward pass, with an explicit KV state: for any model.

Rows are padded on the left of each piece; `mask` marks the columns that hold tokens, and no other
column is attended to.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from harness.errors import ModelError

_GROWTH = 64  # columns allocated at a time when a cache grows without gradients


class GrowingCacheLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # transformers has no types here
    """Keys and values [row, head, column, channel] that grow in place.

    With gradients they are concatenated, as in the parent class.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers has no types here
        self._storage: tuple[Tensor, Tensor] | None = None
        if keys is not None and values is not None:
            self.lazy_initialization(keys, values)
            self.keys, self.values = keys, values

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
                self._grown(self.keys, key_states, new),
                self._grown(self.values, value_states, new),
            )
        keys, values = self._storage
        keys[:, :, old:new], values[:, :, old:new] = key_states, value_states
        self.keys, self.values = keys[:, :, :new], values[:, :, :new]
        return self.keys, self.values

    @staticmethod
    def _grown(have: Tensor, more: Tensor, columns: int) -> Tensor:
        rows, heads, _, channels = more.shape
        # With columns to spare, so that most steps copy nothing.
        storage = more.new_empty(rows, heads, columns + _GROWTH, channels)
        if have.numel():
            storage[:, :, : have.shape[-2]] = have
        return storage


@dataclass(slots=True)
class ForwardState:
    """KV state of a batch: each layer's cache, and a mask [row, column] that is 1 on tokens.

    A forward pass consumes it: the caches grow in place.
    """

    layers: list[GrowingCacheLayer]
    mask: Tensor

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.mask.shape[0]

    def _each(self, change: Callable[[Tensor], Tensor], mask: Tensor) -> ForwardState:
        return ForwardState(
            [GrowingCacheLayer(change(x.keys), change(x.values)) for x in self.layers], mask
        )

    def repeat(self, counts: Sequence[int]) -> ForwardState:
        """A new state with row i counts[i] times.

        By expanding, because the gradient of that is a sum in a fixed order; the gradient of
        indexing is not on a GPU.
        """

        def repeated(x: Tensor) -> Tensor:
            rows = [x[i : i + 1].expand(n, *x.shape[1:]) for i, n in enumerate(counts) if n]
            return torch.cat(rows)

        return self._each(repeated, repeated(self.mask))

    def select(self, rows: Sequence[int], allows_gaps: bool) -> ForwardState:
        """Keep these rows, without columns that none of them uses.

        Without `allows_gaps` only leading columns are dropped: sliding windows count columns.
        """
        mask = self.mask[list(rows)]
        used = mask.any(0)
        if not allows_gaps:
            used = used.cumsum(0) > 0
        kept = used.nonzero()[:, 0]
        index = torch.tensor(list(rows), device=mask.device)
        return self._each(lambda x: x[index][:, :, kept], mask[:, kept])

    def extract_row(self, row: int) -> ForwardState:
        """One row, in a new state."""
        return self.select([row], allows_gaps=True)

    @staticmethod
    def stack(states: Sequence[ForwardState]) -> ForwardState:
        """Concatenate along rows; shorter ones are padded on the left."""
        if len(states) == 1:
            return states[0]
        width = max(s.mask.shape[1] for s in states)

        def padded(x: Tensor, dim: int) -> Tensor:
            missing = width - x.shape[dim]
            shape = [*x.shape[:dim], missing, *x.shape[dim + 1 :]]
            return torch.cat([x.new_zeros(shape), x], dim) if missing else x

        layers = []
        for parts in zip(*(s.layers for s in states), strict=True):
            keys = torch.cat([padded(x.keys, 2) for x in parts])
            values = torch.cat([padded(x.values, 2) for x in parts])
            layers.append(GrowingCacheLayer(keys, values))
        return ForwardState(layers, torch.cat([padded(s.mask, 1) for s in states]))


class TransformersForward:
    """Runs a model with its adapter as it is currently enabled or disabled.

    Raises:
        ModelError: The model keeps a state other than keys and values.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.device = model.device
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._limits_logits = "logits_to_keep" in accepted
        layers = DynamicCache(config=model.config).layers
        # By exact class, because a subclass may keep another state beside keys and values.
        unsupported = {type(x) for x in layers} - {DynamicLayer, DynamicSlidingWindowLayer}
        if unsupported or not layers:
            names = ", ".join(sorted(x.__name__ for x in unsupported)) or "nothing"
            raise ModelError(
                f"The model remembers by {names}: only attention over keys and values can be "
                "sampled and trained here; choose another model, or serve it as openai:…"
            )
        self._layers = len(layers)
        self.allows_gaps = not any(isinstance(x, DynamicSlidingWindowLayer) for x in layers)

    def forward_pieces(
        self, pieces: Sequence[Sequence[int]], state: ForwardState | None = None, logits: int = 1
    ) -> tuple[Tensor, ForwardState]:
        """Process one more piece of ids per row.

        Returns logits [row, last `logits` columns, vocabulary] (0: all columns) and the state.
        Pieces of different lengths are padded on the left.
        """
        width = max(len(piece) for piece in pieces)
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in pieces], device=self.device)
        masks = [[0] * (width - len(p)) + [1] * len(p) for p in pieces]
        return self.forward(ids, torch.tensor(masks, device=self.device), state, logits)

    def forward(
        self, ids: Tensor, mask: Tensor, state: ForwardState | None, logits: int
    ) -> tuple[Tensor, ForwardState]:
        """As `forward_pieces`, with ids and mask [row, column] already padded."""
        # Positions count tokens, not columns: padding on the left must not shift them.
        positions = mask.cumsum(1) - 1
        if state is None:
            layers = [GrowingCacheLayer() for _ in range(self._layers)]
        else:
            layers, positions = state.layers, positions + state.mask.sum(1, keepdim=True)
            mask = torch.cat([state.mask, mask], 1)
        options: dict[str, Tensor | int] = {}
        if self._takes_positions:
            # Padding before the first token gets -1, and models look up even masked positions.
            options["position_ids"] = positions.clamp(min=0)
        if self._limits_logits:
            # The logits of a whole prompt can take more memory than the rest of the pass.
            options["logits_to_keep"] = logits
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=Cache(layers=list(layers)),
            use_cache=True,
            **options,
        )
        # With 0 the slice holds every column, as `logits_to_keep=0` asks for.
        return output.logits[:, -logits:], ForwardState(layers, mask)
