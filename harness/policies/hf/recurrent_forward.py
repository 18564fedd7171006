"""Forward pass for models whose layers keep a recurrent or convolutional state.

Such a state takes in every column, padding as well, so that there is none: only pieces of one
length are processed together. Steps of one token are, whatever came before them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.policies.hf.cache.forward_state import ForwardState
from harness.policies.hf.cache.layers import GrowingLayer, RecurrentLayer, new_layers
from harness.policies.hf.cache.own_state import cache_of
from harness.policies.hf.transformers_forward import TransformersForward

# Where transformers begins with an empty state again at every piece longer than one token.
_STEPWISE = ("falcon_mamba", "jamba", "mamba", "recurrent_gemma")


class RecurrentForward(TransformersForward):
    """Runs a model that keeps a recurrent state, alone or beside keys and values."""

    # Its state has no columns that could be copied without the text before them.
    whole_texts = True

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        # Without padding, no column within a text is ever left unused.
        self.allows_gaps = True
        self._stepwise = model.config.model_type in _STEPWISE
        accepted = inspect.signature(model.forward).parameters
        self._argument = "past_key_values" if "past_key_values" in accepted else "cache_params"

    def forward_pieces(
        self, pieces: Sequence[Sequence[int]], state: ForwardState | None = None, logits: int = 1
    ) -> tuple[Tensor, ForwardState]:
        """See `TransformersForward.forward_pieces`; each length is processed apart."""
        lengths: dict[int, list[int]] = {}
        for row, piece in enumerate(pieces):
            lengths.setdefault(len(piece), []).append(row)
        if len(lengths) == 1:
            return self._forward_equal(pieces, state, logits)
        parts = []
        for rows in lengths.values():
            own = None if state is None else state.select(rows, allows_gaps=True)
            parts.append(self._forward_equal([pieces[row] for row in rows], own, logits))
        order = [row for rows in lengths.values() for row in rows]
        back = sorted(range(len(order)), key=order.__getitem__)
        stacked = ForwardState.stack([own for _, own in parts])
        return torch.cat([x for x, _ in parts])[back], stacked.select(back, allows_gaps=True)

    def _forward_equal(
        self, pieces: Sequence[Sequence[int]], state: ForwardState | None, logits: int
    ) -> tuple[Tensor, ForwardState]:
        ids = torch.tensor([list(piece) for piece in pieces], device=self.device)
        if state is None or not self._stepwise:
            return self.forward(ids, torch.ones_like(ids), state, logits)
        found = []
        for column in torch.split(ids, 1, dim=1):
            step, state = self.forward(column, torch.ones_like(column), state, 1)
            found.append(step)
        return torch.cat(found, 1)[:, -logits:], state

    def _run(self, ids: Tensor, state: ForwardState, options: dict[str, Any]) -> Any:
        # Shorter texts are padded on the left among keys and values, which recurrent states are
        # not: some models would apply the mask to those too.
        if any(not isinstance(layer, RecurrentLayer) for layer in state.layers):
            options["attention_mask"] = state.mask
        with cache_of(self.model, state.layers) as cache:
            return self.model(input_ids=ids, use_cache=True, **{self._argument: cache}, **options)


def new_forward(model: PreTrainedModel) -> TransformersForward:
    """The forward pass that the kinds of state of a model's layers ask for."""
    recurrent = any(type(x) is not GrowingLayer for x in new_layers(model.config))
    return RecurrentForward(model) if recurrent else TransformersForward(model)
