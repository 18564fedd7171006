"""Limits of a model, from its own configuration: context, and token ids that there are."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """Maximum tokens of prompt and completion, and the vocabulary's size; None where not known.

    The size is that of the output layer, which is often padded beyond the tokenizer's: a model can
    sample an id of the padding, but none beyond it.
    """

    context: int | None = None
    vocabulary: int | None = None


def read_limits(folder: str | Path) -> ModelLimits:
    """The limits in the configuration of a model's folder, or of a model in the Hub's cache."""
    from transformers import AutoConfig

    with suppress(OSError, ValueError, KeyError):
        # Not the JSON file itself: it leaves out what is a family's default.
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
        facts = config.to_dict()
        return ModelLimits(facts.get("max_position_embeddings"), facts.get("vocab_size"))
    return ModelLimits()


def foreign_tokens(ids: Iterable[int], vocabulary: int | None) -> str:
    """The reason why sampled ids cannot be the model's; "" where they can.

    Decoded, such ids would be an empty text, and count as a wrong answer.
    """
    foreign = [i for i in ids if i < 0 or (vocabulary is not None and i >= vocabulary)]
    if not foreign:
        return ""
    return (
        f"the server sampled token id {foreign[0]}, and the model's vocabulary has "
        f"{vocabulary}: it serves another model than the one that was named"
    )
