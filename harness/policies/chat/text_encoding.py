"""Encodes the parts of a text one by one, as they would be encoded in its middle.

SentencePiece puts a space before every text that it encodes. Where a text is put together from
parts, that space would stand before each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]

# A text to stand before a part and to be taken off again: a line break joins no word.
_LEAD = "\n"


class TextEncoder:
    """A tokenizer's encoding; `adds_space` is True where it puts a space before each text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        tokens = tokenizer.convert_ids_to_tokens(list(self.first("a")))
        self._lead = self.first(_LEAD)
        self.adds_space = bool(self._lead) and str(tokens[0]).startswith("▁")

    def first(self, text: str) -> Ids:
        """Encode the beginning of a text, with its control tokens."""
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def next(self, text: str, plain: bool = False) -> Ids:
        """Encode what follows, with its control tokens, or with `plain` all of it as text."""
        if self.adds_space:
            ids = self._encode(_LEAD + text, plain)
            if ids[: len(self._lead)] == self._lead:
                return ids[len(self._lead) :]
        return self._encode(text, plain)

    def _encode(self, text: str, plain: bool) -> Ids:
        encoded = self._tokenizer(text, add_special_tokens=False, split_special_tokens=plain)
        return tuple(encoded["input_ids"])
