"""Constrained decoding: completions that match a regular expression, by llguidance.

llguidance follows the expression's automaton token by token and returns a mask of the tokens that
may come next; nothing is compiled for the whole vocabulary beforehand. An optional dependency.
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

_LAST = 32  # tokens before the limit, from which on a completion ends as soon as it may


class TokenConstraint:
    """The state of one completion's automaton."""

    def __init__(self, matcher: Any, ends: NDArray[np.bool_]) -> None:
        self._matcher = matcher
        self._ends = ends

    def allowed(self, remaining: int) -> NDArray[np.bool_]:
        """A mask [vocabulary] of the next tokens, with `remaining` tokens until the limit.

        Near the limit a completion that may end has to: cut off, it would match nothing.

        Raises:
            ModelError: llguidance gave up.
        """
        if remaining <= _LAST and self._matcher.is_accepting():
            return self._ends
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        # The mask comes in whole words, which reach past the end of the vocabulary.
        return np.unpackbits(bits, bitorder="little")[: len(self._ends)].astype(bool)

    def accept(self, token: int) -> None:
        """Advance by a sampled token.

        Raises:
            ModelError: The expression does not allow it.
        """
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ModelError(
                f"Constrained decoding failed ({self._matcher.get_error()[:200]}): "
                "leave out model.constrained_decoding."
            )


class ConstraintCompiler:
    """Compiles expressions for one model's vocabulary; `ends` are the end-of-sequence ids.

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
                "pip install '.[grammar]', or leave the setting out."
            ) from error
        self._matcher: Any = LLMatcher
        try:
            self._vocabulary = from_tokenizer(tokenizer, vocabulary, sorted(ends))
        except Exception as error:  # whatever it finds wrong with a tokenizer
            raise ModelError(
                f"llguidance cannot read this model's tokenizer ({str(error)[:200]}): leave out "
                "model.constrained_decoding."
            ) from error
        self._ends = np.zeros(vocabulary, dtype=bool)
        self._ends[list(ends)] = True
        self._matchers: dict[str, Any] = {}

    def begin(self, expression: str) -> TokenConstraint:
        """A constraint for a completion that matches the whole regular expression.

        Raises:
            ModelError: It is no regular expression, or too large a one.
        """
        # Parsed once for all completions; each then advances a copy of its own.
        if expression not in self._matchers:
            matcher = self._matcher(self._vocabulary, self._matcher.grammar_from_regex(expression))
            if matcher.is_error():
                raise ModelError(
                    f"{expression[:80]!r} is no regular expression that llguidance can read "
                    f"({matcher.get_error()[:200]}): correct it, or leave out "
                    "model.constrained_decoding."
                )
            self._matchers[expression] = matcher
        return TokenConstraint(self._matchers[expression].deep_copy(), self._ends)
