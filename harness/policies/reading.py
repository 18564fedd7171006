"""What a sampler needs of a model: a reader of tokens that remembers what each row has read.

`lean.LeanReader` is one, for the Llama family; `PlainReader` is transformers' own forward pass, for
every other model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self, TypeVar

from torch import Tensor

from harness.policies.network import Network, State


class Memory(Protocol):
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


M = TypeVar("M", bound=Memory)


class Reader(Protocol[M]):
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


class PlainReader:
    """Transformers' own forward pass, with the adapter as `switched` sets it for each."""

    def __init__(
        self, network: Network, switched: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._network = network
        self._switched = switched
        self.gaps = network.gaps

    def read(
        self, pieces: Sequence[Sequence[int]], state: State | None = None
    ) -> tuple[Tensor, State]:
        """See `Reader.read`."""
        with self._switched():
            logits, state = self._network.read(pieces, state)
        return logits[:, -1], state

    def follow(self, states: Sequence[State]) -> State:
        """See `Reader.follow`."""
        return self.stack(states)

    def stack(self, states: Sequence[State]) -> State:
        """See `Reader.stack`."""
        return State.stack(states).repeat([1] * sum(s.rows for s in states))

    def without(self, state: State, rows: Sequence[int]) -> tuple[State, list[int]]:
        """See `Reader.without`; the order stays."""
        gone = set(rows)
        staying = [i for i in range(state.rows) if i not in gone]
        return state.select(staying, self.gaps), staying

    def forget(self) -> None:
        """Nothing is kept."""
