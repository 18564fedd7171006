"""Chooses between the fast forward pass and transformers' own."""

from __future__ import annotations

from typing import Literal

from transformers import PreTrainedModel

from harness.errors import ModelError
from harness.policies.hf.fast_llama.fused_weights import FusedLlama, unsupported


def fast_forward(
    name: str, model: PreTrainedModel, choice: Literal["auto", "transformers", "fast"]
) -> tuple[FusedLlama | None, tuple[str, ...]]:
    """The weights for the fast forward pass, None where transformers' own is used; and notes.

    Raises:
        ModelError: `model.forward` is "fast", and the model is not supported.
    """
    why = "model.forward says so" if choice == "transformers" else unsupported(model)
    if why is None:
        return FusedLlama(model), ()
    if choice == "fast":
        raise ModelError(
            f"The fast forward pass does not support '{name}', because {why}: leave out "
            "model.forward, which then takes transformers' own."
        )
    return None, (f"Sampling by transformers' own forward pass: {why}.",)
