"""Protocol of the forward pass that a sampler uses: ids in, next-token logits and KV cache out.

`fast_llama.decode.FastDecoder` implements it for the Llama family, `TransformersDecoder` with
transformers' own forward pass for every model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self, TypeVar

from torch import Tensor

from harness.policies.hf.cache.forward_state import ForwardState
from harness.policies.hf.transformers_forward import TransformersForward


class KVCache(Protocol):
    """KV cache of a batch. Every method that derives another cache consumes this one."""

    @property
    def rows(self) -> int:
        """The number of rows."""
        ...

    def repeat(self, counts: Sequence[int]) -> Self:
        """A cache with row i counts[i] times."""
        ...

    def extract_row(self, row: int) -> Self:
        """An independent copy of one row, as a prompt of its own."""
        ...


M = TypeVar("M", bound=KVCache)


class Decoder(Protocol[M]):
    """Runs the model on more tokens of each row."""

    @property
    def allows_gaps(self) -> bool:
        """True where a row may continue another row's cache.

        Unused columns may then lie between the two.

        False for sliding windows, which count columns instead of tokens.
        """
        ...

    def forward(self, pieces: Sequence[Sequence[int]], state: M | None = None) -> tuple[Tensor, M]:
        """Process one more piece of ids per row.

        Returns logits [row, vocabulary] after each row's last token, and the cache.
        """
        ...

    def from_prefixes(self, states: Sequence[M]) -> M:
        """A cache whose rows continue these, which stay usable."""
        ...

    def stack(self, states: Sequence[M]) -> M:
        """Concatenate along rows."""
        ...

    def remove_rows(self, state: M, rows: Sequence[int]) -> tuple[M, list[int]]:
        """Remove rows; returns the cache and the old index of each remaining row."""
        ...

    def invalidate(self) -> None:
        """Recompute what depends on the weights, which have changed."""
        ...


class TransformersDecoder:
    """Transformers' forward pass, with the adapter enabled or disabled by `switched`."""

    def __init__(
        self, network: TransformersForward, switched: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._network = network
        self._switched = switched
        self.allows_gaps = network.allows_gaps

    def forward(
        self, pieces: Sequence[Sequence[int]], state: ForwardState | None = None
    ) -> tuple[Tensor, ForwardState]:
        """See `Decoder.forward`."""
        with self._switched():
            logits, state = self._network.forward_pieces(pieces, state)
        return logits[:, -1], state

    def from_prefixes(self, states: Sequence[ForwardState]) -> ForwardState:
        """See `Decoder.from_prefixes`."""
        return self.stack(states)

    def stack(self, states: Sequence[ForwardState]) -> ForwardState:
        """See `Decoder.stack`."""
        # Stacking one state returns it as it is. The repetition copies, so that a prefix stays
        # usable while the caches that continue it grow in place.
        return ForwardState.stack(states).repeat([1] * sum(s.rows for s in states))

    def remove_rows(
        self, state: ForwardState, rows: Sequence[int]
    ) -> tuple[ForwardState, list[int]]:
        """See `Decoder.remove_rows`; the order is kept."""
        removed = set(rows)
        remaining = [i for i in range(state.rows) if i not in removed]
        return state.select(remaining, self.allows_gaps), remaining

    def invalidate(self) -> None:
        """Nothing depends on the weights."""
