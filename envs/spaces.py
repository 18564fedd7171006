"""Spaces of text. Gymnasium's own `Text` wants a finite alphabet; language has none."""

from typing import Any

import gymnasium

_ALPHABET = "abcdefghijklmnopqrstuvwxyz 0123456789.,;:!?+-=(){}\\äßλ中🙂"


class AnyText(gymnasium.Space[str]):
    """Every Python string, of any length, in any script.

    `sample` gives at most `longest_sample` characters; membership knows no such limit.
    """

    def __init__(self, longest_sample: int = 32, seed: int | None = None) -> None:
        super().__init__(shape=None, dtype=None, seed=seed)
        self.longest_sample = longest_sample

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> str:
        """A short string; there is nothing to mask or to weigh."""
        if mask is not None or probability is not None:
            raise ValueError("AnyText.sample takes neither mask nor probability")
        length = int(self.np_random.integers(self.longest_sample + 1))
        picks = self.np_random.integers(len(_ALPHABET), size=length)
        return "".join(_ALPHABET[int(i)] for i in picks)

    def contains(self, x: Any) -> bool:
        """True for a string."""
        return isinstance(x, str)

    @property
    def is_np_flattenable(self) -> bool:
        """Text of any length has no fixed vector."""
        return False

    def __repr__(self) -> str:
        return "AnyText()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyText)

    def __hash__(self) -> int:
        return hash(AnyText)
