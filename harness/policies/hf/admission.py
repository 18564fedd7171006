"""Number of rows that the sampler runs at a time, so that their keys and values fit the memory."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowLimit:
    """The most rows of a batch, and the memory of their keys and values.

    `kv_bytes` None sets no limit of memory. `row_bytes` gives what a row of so many tokens may
    need, prompt and reply together.
    """

    rows: int
    kv_bytes: int | None = None
    row_bytes: Callable[[int], int] = lambda tokens: 1

    def admitted(self, tokens: int) -> int:
        """Rows that may run together if the longest of them has so many tokens at its end."""
        if self.kv_bytes is None:
            return self.rows
        # One row always runs: what it needs is known to fit, or is tried.
        return max(1, min(self.rows, self.kv_bytes // self.row_bytes(tokens)))
