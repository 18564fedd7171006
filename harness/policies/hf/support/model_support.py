"""Reads a model's configuration before its weights: refuses kinds that cannot be sampled right, and
chooses the attention and context under which transformers computes what the model was trained for.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

from harness.errors import ModelError
from harness.policies.hf.cache.layers import GrowingLayer, new_layers

# Decoders whose configuration says `is_decoder: false` all the same.
_CAUSAL_ANYWAY = ("gpt_neox", "gpt_neox_japanese", "trocr")
# MPT's biases and GPT-Neo's windows, which no cache shows.
_COUNTS_COLUMNS = ("gpt_neo", "mpt")
_INSTEAD = "choose another model, or serve it as openai:http://HOST/v1#MODEL"


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The attention, context and notes that a model's configuration asks for.

    `attention` is the implementation to load with; None for transformers' own choice. `context` is
    the longest text in tokens; None where the configuration states none. `counts_columns` is True
    where attention goes by columns, so that none may be left unused within a text.
    """

    attention: str | None
    context: int | None
    counts_columns: bool
    notes: tuple[str, ...] = ()


def plan_loading(name: str, folder: Path) -> LoadPlan:
    """Decide how to load the model in a folder, from its configuration alone.

    Raises:
        ModelError: It is no causal language model, or of a kind that cannot be sampled here.
        OSError, ValueError: The configuration cannot be read.
    """
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"The folder of '{name}' holds an adapter (adapter_config.json), which transformers "
            "would add to the model without a word: merge it first (merge_and_unload)."
        )
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    _require_causal(name, config)
    recurs = _require_known_state(name, config)
    text = config.get_text_config(decoder=True)
    fields: Mapping[str, Any] = text.to_dict()
    notes = []
    attention = None
    if recurs:
        notes.append(
            "The model keeps a recurrent state: only prompts of one length are processed together, "
            "and an update processes each text from its beginning."
        )
    if fields.get("attn_logit_softcapping") is not None:
        # PyTorch's fused attention has no place for the cap and drops it without a word.
        attention = "eager"
        notes.append(
            "The model caps its attention scores, which only transformers' eager attention does."
        )
    if config.to_dict().get("auto_map"):
        notes.append(
            "The model's folder names a program of its own (auto_map), which is not run: "
            f"transformers' own {config.model_type} is used."
        )
    # An attribute, because some architectures have the field under another name (n_positions).
    context: int | None = getattr(text, "max_position_embeddings", None)
    short = min(_original_lengths(fields), default=None)
    if short is not None and (context is None or short < context):
        # Transformers rotates a whole batch by the long factors once one row is longer, and keys
        # cached before then keep the short ones.
        notes.append(
            f"The context is limited to {short} tokens of {context}: beyond them the model rotates "
            "positions by other factors, which changes texts already processed."
        )
        context = short
    return LoadPlan(attention, context, config.model_type in _COUNTS_COLUMNS, tuple(notes))


def _require_causal(name: str, config: Any) -> None:
    fields = config.to_dict()
    kind = config.model_type
    if fields.get("is_encoder_decoder"):
        raise ModelError(
            f"The model '{name}' is an encoder with a decoder ({kind}), not a causal language "
            f"model: {_INSTEAD}."
        )
    # Old files of other models hold the field too, where it means nothing.
    declares = any("is_decoder" in vars(c).get("__annotations__", {}) for c in type(config).__mro__)
    if declares and fields.get("is_decoder") is False and kind not in _CAUSAL_ANYWAY:
        raise ModelError(
            f"The model '{name}' is an encoder ({kind} with is_decoder false): each token sees "
            "those after it, so it cannot write text; choose a causal language model."
        )


def _require_known_state(name: str, config: Any) -> bool:
    """Refuse models whose layers keep a state that is not known here; True for a recurrent one."""
    found = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if found is None:
        parts = ", which has other parts beside its language model" if config.sub_configs else ""
        raise ModelError(
            f"Transformers does not load '{name}' ({config.model_type}{parts}) as a causal "
            f"language model: {_INSTEAD}."
        )
    architecture: Any = found[0] if isinstance(found, tuple) else found
    accepted = inspect.signature(architecture.forward).parameters
    try:
        layers = new_layers(config)
    except (AttributeError, KeyError, ValueError):
        layers = []  # an architecture with a cache of its own
    attends = any(isinstance(layer, GrowingLayer) for layer in layers)
    recurs = any(type(layer) is not GrowingLayer for layer in layers)
    # Beside layers of attention alone, a state would be one that no cache holds.
    own = architecture._is_stateful and not recurs
    if not layers or own or not {"past_key_values", "cache_params"} & set(accepted):
        raise ModelError(
            f"The model '{name}' ({config.model_type}) keeps a state other than keys and values, "
            f"in a cache of its own that cannot be sampled and trained here: {_INSTEAD}."
        )
    if not attends and "past_key_values" in accepted:
        raise ModelError(
            f"The model '{name}' ({config.model_type}) has no layer of attention, without which "
            f"transformers cannot go on from its state: {_INSTEAD}."
        )
    return recurs


def _original_lengths(fields: Mapping[str, Any]) -> Iterator[int]:
    """The lengths up to which long-rope layers use their short factors."""
    ropes = fields.get("rope_parameters") or {}
    # Models with several kinds of layers have one set of parameters for each.
    for rope in (ropes, *(x for x in ropes.values() if isinstance(x, Mapping))):
        if rope.get("rope_type") == "longrope":
            length = rope.get("original_max_position_embeddings")
            length = length or fields.get("original_max_position_embeddings")
            if length:
                yield int(length)
