"""A transformers model as a function that reads more tokens: state in, logits and state out.

Sampling and training share it, and with it the one way of laying rows out: what a row has read is
marked in `mask`; padding stands on the left of each piece and is never attended to.
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
from harness.policies.base import Sample
from harness.policies.hf.batching import SHORTEST_HEAD, Ids, beginnings

_ROOM = 64  # columns added at a time when a layer without gradient grows


class GrowingCacheLayer(DynamicLayer):  # type: ignore[no-untyped-call]  # transformers has no types here
    """Keys and values [row, head, column, channel] with room to grow in place.

    With gradients it concatenates, as its parent does.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers has no types here
        self._room: tuple[Tensor, Tensor] | None = None
        if keys is not None and values is not None:
            self.lazy_initialization(keys, values)
            self.keys, self.values = keys, values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append [row, head, new column, channel]; returns all columns."""
        if torch.is_grad_enabled():
            return super().update(key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        if self._room is None or new > self._room[0].shape[-2]:
            self._room = (
                self._grown(self.keys, key_states, new),
                self._grown(self.values, value_states, new),
            )
        keys, values = self._room
        keys[:, :, old:new], values[:, :, old:new] = key_states, value_states
        self.keys, self.values = keys[:, :, :new], values[:, :, :new]
        return self.keys, self.values

    @staticmethod
    def _grown(have: Tensor, more: Tensor, columns: int) -> Tensor:
        rows, heads, _, channels = more.shape
        room = more.new_empty(rows, heads, columns + _ROOM, channels)
        if have.numel():
            room[:, :, : have.shape[-2]] = have
        return room


@dataclass(slots=True)
class ForwardState:
    """What rows have read: each layer's keys and values, and a mask [row, column], 1 where a token
    stands. Reading on uses it up: the layers grow in place.
    """

    layers: list[GrowingCacheLayer]
    mask: Tensor

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.mask.shape[0]

    def _each(self, change: Callable[[Tensor], Tensor], mask: Tensor) -> ForwardState:
        return ForwardState(
            [GrowingCacheLayer(change(x.keys), change(x.values)) for x in self.layers], mask
        )

    def repeat(self, counts: Sequence[int]) -> ForwardState:
        """Row i, counts[i] times, in a state of its own.

        By expanding, because its gradient is a sum in a fixed order; an index's is not on a GPU.
        """

        def repeated(x: Tensor) -> Tensor:
            rows = [x[i : i + 1].expand(n, *x.shape[1:]) for i, n in enumerate(counts) if n]
            return torch.cat(rows)

        return self._each(repeated, repeated(self.mask))

    def select(self, rows: Sequence[int], gaps: bool) -> ForwardState:
        """These rows only, without columns that none of them uses.

        Without `gaps` only leading columns go: sliding windows count columns, not tokens.
        """
        mask = self.mask[list(rows)]
        used = mask.any(0)
        if not gaps:
            used = used.cumsum(0) > 0
        kept = used.nonzero()[:, 0]
        index = torch.tensor(list(rows), device=mask.device)
        return self._each(lambda x: x[index][:, :, kept], mask[:, kept])

    def alone(self, row: int) -> ForwardState:
        """What one row has read, in a state of its own."""
        return self.select([row], gaps=True)

    @staticmethod
    def stack(states: Sequence[ForwardState]) -> ForwardState:
        """One below the other, the shorter ones padded on the left."""
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
    """Reads tokens with a model, adapter on or off.

    Raises:
        ModelError: The model keeps a state other than keys and values.
    """

    padded = True

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.device = model.device
        self.vocabulary: int = model.config.get_text_config().vocab_size
        accepted = inspect.signature(model.forward).parameters
        self._positions = "position_ids" in accepted
        self._keeps = "logits_to_keep" in accepted
        layers = DynamicCache(config=model.config).layers
        strange = {type(x) for x in layers} - {DynamicLayer, DynamicSlidingWindowLayer}
        if strange or not layers:
            names = ", ".join(sorted(x.__name__ for x in strange)) or "nothing"
            raise ModelError(
                f"The model remembers by {names}: only attention over keys and values can be "
                "sampled and trained here; choose another model, or serve it as openai:…"
            )
        self._layers = len(layers)
        self.gaps = not any(isinstance(x, DynamicSlidingWindowLayer) for x in layers)

    def read(
        self, pieces: Sequence[Sequence[int]], state: ForwardState | None = None, logits: int = 1
    ) -> tuple[Tensor, ForwardState]:
        """Read one piece more per row.

        Returns logits [row, last `logits` columns, vocabulary] (0 = all columns) and the state.
        Rows of different lengths are padded on the left.
        """
        width = max(len(piece) for piece in pieces)
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in pieces], device=self.device)
        marks = [[0] * (width - len(p)) + [1] * len(p) for p in pieces]
        return self.forward(ids, torch.tensor(marks, device=self.device), state, logits)

    def forward(
        self, ids: Tensor, mask: Tensor, state: ForwardState | None, logits: int
    ) -> tuple[Tensor, ForwardState]:
        """As `read`, with ids and mask [row, column] already laid out."""
        positions = mask.cumsum(1) - 1
        if state is None:
            layers = [GrowingCacheLayer() for _ in range(self._layers)]
        else:
            layers, positions = state.layers, positions + state.mask.sum(1, keepdim=True)
            mask = torch.cat([state.mask, mask], 1)
        options: dict[str, Tensor | int] = {}
        if self._positions:
            options["position_ids"] = positions.clamp(min=0)
        if self._keeps:
            options["logits_to_keep"] = logits
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=Cache(layers=list(layers)),
            use_cache=True,
            **options,
        )
        return output.logits[:, -logits:], ForwardState(layers, mask)

    def replies(self, batch: Sequence[Sample]) -> tuple[Tensor, Tensor]:
        """See `trainer.Reader`. Each prompt is read once, but for its last token, which is read
        with each reply, so that one pass gives all of a reply's logits.
        """
        counts: dict[Ids, int] = {}
        for sample in batch:
            counts[sample.prompt] = counts.get(sample.prompt, 0) + 1
        state = self._prompts([prompt[:-1] for prompt in counts])
        if state is not None:
            state = state.repeat(list(counts.values()))
        width = max(len(s.sampled) for s in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, s in enumerate(batch):
            ids[i, : len(s.sampled)] = torch.tensor([s.prompt[-1], *s.sampled[:-1]])
            mask[i, : len(s.sampled)] = 1
        mask = mask.to(self.device)
        logits, _ = self.forward(ids.to(self.device), mask, state, logits=0)
        return logits.flatten(0, 1), mask.flatten().nonzero()[:, 0]

    def _prompts(self, prompts: list[Ids]) -> ForwardState | None:
        """Read prompts, what neighbours begin with once; None where there is nothing to read."""
        if not any(prompts):
            return None
        alike = beginnings(prompts)
        spared = len(prompts) > len(alike) and min(len(h) for h, _ in alike) >= SHORTEST_HEAD
        if not spared or not self.gaps:
            return self.read(prompts)[1]
        state = self.read([h for h, _ in alike])[1].repeat([len(group) for _, group in alike])
        return self.read([p[len(h) :] for h, group in alike for p in group], state)[1]
