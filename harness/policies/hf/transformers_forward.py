"""Transformers' own forward pass, with an explicit KV state: for any model.

Rows are padded on the left of each piece; `mask` marks the columns that hold tokens, and no other
column is attended to.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicSlidingWindowLayer

from harness.policies.hf.cache.forward_state import ForwardState
from harness.policies.hf.cache.layers import new_layers


class TransformersForward:
    """Runs a model with its adapter as it is currently enabled or disabled."""

    whole_texts = False
    """True where updates have to process each text from its beginning, in one piece."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.device = model.device
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._limits_logits = "logits_to_keep" in accepted
        layers = DynamicCache(config=model.config).layers
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
            state = ForwardState(new_layers(self.model.config), mask)
        else:
            positions = positions + state.mask.sum(1, keepdim=True)
            state = ForwardState(state.layers, torch.cat([state.mask, mask], 1))
        options: dict[str, Any] = {}
        if self._takes_positions:
            # Padding before the first token gets -1, and models look up even masked positions.
            options["position_ids"] = positions.clamp(min=0)
        if self._limits_logits:
            # The logits of a whole prompt can take more memory than the rest of the pass.
            options["logits_to_keep"] = logits
        output = self._run(ids, state, options)
        # With 0 the slice holds every column, as `logits_to_keep=0` asks for.
        return output.logits[:, -logits:], state

    def _run(self, ids: Tensor, state: ForwardState, options: dict[str, Any]) -> Any:
        """The model's output for new ids; the layers of `state` are brought up to date."""
        return self.model(
            input_ids=ids,
            attention_mask=state.mask,
            past_key_values=Cache(layers=list(state.layers)),  # type: ignore[arg-type]
            use_cache=True,
            **options,
        )
