"""Replies that can only say what a regular expression allows, by llguidance.

llguidance walks the expression's automaton beside the reply and tells, token by token, what may
come next; nothing is compiled ahead of the vocabulary. It is an optional dependency.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import ModelError

if TYPE_CHECKING:
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

_LAST = 32  # tokens before the limit, within which a reply ends as soon as its form allows it


class TokenConstraint:
    """One reply's place in its expression."""

    def __init__(self, matcher: Any, ends: NDArray[np.bool_]) -> None:
        self._matcher = matcher
        self._ends = ends

    def allowed(self, left: int) -> NDArray[np.bool_]:
        """What may come next [vocabulary], with so many tokens left.

        Near the limit a reply that may end has to: cut off, it would be of no form at all.

        Raises:
            ModelError: llguidance gave up.
        """
        if left <= _LAST and self._matcher.is_accepting():
            return self._ends
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        return np.unpackbits(bits, bitorder="little")[: len(self._ends)].astype(bool)

    def said(self, token: int) -> None:
        """A token was drawn.

        Raises:
            ModelError: The form does not allow it.
        """
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ModelError(
                f"A reply could not be kept to its form ({self._matcher.get_error()[:200]}): "
                "leave out model.constrained_decoding."
            )


class ConstraintCompiler:
    """Forms for one model's vocabulary; a reply that is complete ends with one of `ends`.

    Raises:
        ModelError: llguidance is not installed, or cannot read the tokenizer.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, ends: Collection[int], vocabulary: int
    ) -> None:
        try:
            from llguidance import LLMatcher
            from llguidance.hf import from_tokenizer

            self.note = (
                "Replies that are asked for in a form can say nothing else "
                f"(llguidance {version('llguidance')})."
            )
        except (ImportError, PackageNotFoundError) as error:
            raise ModelError(
                "model.constrained_decoding needs llguidance: type "
                "pip install 'espl-harness[grammar]', or leave the setting out."
            ) from error
        self._matcher: Any = LLMatcher
        try:
            self._words = from_tokenizer(tokenizer, vocabulary, sorted(ends))
        except Exception as error:  # whatever it finds wrong with a tokenizer
            raise ModelError(
                f"llguidance cannot read this model's tokenizer ({str(error)[:200]}): leave out "
                "model.constrained_decoding."
            ) from error
        self._ends = np.zeros(vocabulary, dtype=bool)
        self._ends[list(ends)] = True
        self._begun: dict[str, Any] = {}

    def begin(self, expression: str) -> TokenConstraint:
        """The form of a reply that matches all of the regular expression.

        Raises:
            ModelError: It is no regular expression, or too large a one.
        """
        if expression not in self._begun:
            matcher = self._matcher(self._words, self._matcher.grammar_from_regex(expression))
            if matcher.is_error():
                raise ModelError(
                    f"The form {expression[:80]!r} cannot be read as a regular expression "
                    f"({matcher.get_error()[:200]}): mend it, or leave out "
                    "model.constrained_decoding."
                )
            self._begun[expression] = matcher
        return TokenConstraint(self._begun[expression].deep_copy(), self._ends)
