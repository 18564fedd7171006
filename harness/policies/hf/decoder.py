"""What a sampler needs of a model: a reader of tokens that remembers what each row has read.

`lean.LeanReader` is one, for the Llama family; `PlainReader` is transformers' own forward pass, for
every other model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self, TypeVar

from torch import Tensor

from harness.policies.hf.transformers_forward import ForwardState, TransformersForward


class KVCache(Protocol):
    """What rows have read. Whatever is made from it uses it up."""

    @property
    def rows(self) -> int:
        """How many rows it has."""
        ...

    def repeat(self, counts: Sequence[int]) -> Self:
        """Row i, counts[i] times, in a memory of its own."""
        ...

    def alone(self, row: int) -> Self:
        """All that one row has read, in a memory of its own, as what a prompt leaves."""
        ...


M = TypeVar("M", bound=KVCache)


class Decoder(Protocol[M]):
    """Reads tokens; `gaps` tells whether a row may begin with what another row has read."""

    @property
    def gaps(self) -> bool:
        """False for sliding windows, which count columns."""
        ...

    def read(self, pieces: Sequence[Sequence[int]], state: M | None = None) -> tuple[Tensor, M]:
        """Read one piece more per row: logits [row, vocabulary] after its last token, and state."""
        ...

    def follow(self, states: Sequence[M]) -> M:
        """Rows that begin with these, which stay as they are, for others to begin with."""
        ...

    def stack(self, states: Sequence[M]) -> M:
        """One below the other, in a memory of their own."""
        ...

    def without(self, state: M, rows: Sequence[int]) -> tuple[M, list[int]]:
        """Without these rows, and which row stands where now."""
        ...

    def forget(self) -> None:
        """The weights have changed."""
        ...


class TransformersDecoder:
    """Transformers' own forward pass, with the adapter as `switched` sets it for each."""

    def __init__(
        self, network: TransformersForward, switched: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._network = network
        self._switched = switched
        self.gaps = network.gaps

    def read(
        self, pieces: Sequence[Sequence[int]], state: ForwardState | None = None
    ) -> tuple[Tensor, ForwardState]:
        """See `Reader.read`."""
        with self._switched():
            logits, state = self._network.read(pieces, state)
        return logits[:, -1], state

    def follow(self, states: Sequence[ForwardState]) -> ForwardState:
        """See `Reader.follow`."""
        return self.stack(states)

    def stack(self, states: Sequence[ForwardState]) -> ForwardState:
        """See `Reader.stack`."""
        return ForwardState.stack(states).repeat([1] * sum(s.rows for s in states))

    def without(self, state: ForwardState, rows: Sequence[int]) -> tuple[ForwardState, list[int]]:
        """See `Reader.without`; the order stays."""
        gone = set(rows)
        staying = [i for i in range(state.rows) if i not in gone]
        return state.select(staying, self.gaps), staying

    def forget(self) -> None:
        """Nothing is kept."""
