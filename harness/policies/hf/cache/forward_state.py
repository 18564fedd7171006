"""State of a batch between two forward passes: every layer's, and which columns hold tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.policies.hf.cache.layers import StateLayer


@dataclass(slots=True)
class ForwardState:
    """State of a batch: each layer's, and a mask [row, column] that is 1 on tokens.

    A forward pass consumes it: the layers' states change in place.
    """

    layers: list[StateLayer]
    mask: Tensor

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.mask.shape[0]

    def repeat(self, counts: Sequence[int]) -> ForwardState:
        """A new state with row i counts[i] times.

        By expanding, because the gradient of that is a sum in a fixed order; the gradient of
        indexing is not on a GPU.
        """

        def repeated(x: Tensor) -> Tensor:
            rows = [x[i : i + 1].expand(n, *x.shape[1:]) for i, n in enumerate(counts) if n]
            return torch.cat(rows)

        return self._each(repeated, repeated, repeated(self.mask))

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
        return self._each(lambda x: x[index], lambda x: x[index][:, :, kept], mask[:, kept])

    def extract_row(self, row: int) -> ForwardState:
        """One row, in a new state."""
        return self.select([row], allows_gaps=True)

    @staticmethod
    def stack(states: Sequence[ForwardState]) -> ForwardState:
        """Concatenate along rows; shorter ones are padded on the left."""
        if len(states) == 1:
            return states[0]
        width = max(s.mask.shape[1] for s in states)

        def padded(mask: Tensor) -> Tensor:
            missing = mask.new_zeros(mask.shape[0], width - mask.shape[1])
            return torch.cat([missing, mask], 1)

        layers = zip(*(s.layers for s in states), strict=True)
        return ForwardState(
            [first.stack(others, width) for first, *others in layers],
            torch.cat([padded(s.mask) for s in states]),
        )

    def _each(
        self,
        rows: Callable[[Tensor], Tensor],
        columns: Callable[[Tensor], Tensor],
        mask: Tensor,
    ) -> ForwardState:
        return ForwardState([layer.derive(rows, columns) for layer in self.layers], mask)
