"""Bytes that an update's forward and backward pass keep, by formula, and when to checkpoint.

The formulas count what autograd keeps for the backward pass of the packed forward pass
(`fast_llama.train_forward`); `python -m benchmarks.speed memory` and tests compare them with a
count on the real code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

LOGITS_CHUNK_BYTES = 256_000_000
"""Bytes of the float32 logits that are computed at once; see `chunked_logprobs`."""

MASK_BYTES = 64_000_000
"""Bytes of one attention mask in float32; longer texts attend without one, or in blocks of rows."""

Checkpointing = Literal["auto", "on", "off"]

_SHARE = 0.5  # of free memory that activations may take before they are computed again instead
_FLOAT = 4  # bytes of a number in float32
_GRADIENT = 0.6  # of what a layer keeps: what computing its gradient takes beside that
_OWN_FORWARD = (
    1.65  # times the packed pass's activations that transformers' modules keep, with peft
)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a model that decide the memory of an update.

    `query` and `kv` are the channels of all query heads, and of the keys (or values) of all heads.
    `itemsize` is the bytes of one number of the base model's dtype.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    query: int
    kv: int
    vocabulary: int
    rank: int
    itemsize: int
    normed_heads: bool = False

    @staticmethod
    def of(config: Any, rank: int, itemsize: int) -> ModelShape:
        """The sizes that a model's configuration states; a missing one is taken from the others."""
        text = config.get_text_config()
        stated: dict[str, Any] = text.to_dict()
        # Some architectures have the field under another name (n_head), and models of recurrent
        # layers alone have none.
        field = text.attribute_map.get("num_attention_heads", "num_attention_heads")
        heads, hidden = int(stated.get(field) or 1), int(text.hidden_size)
        kv_heads: int = stated.get("num_key_value_heads") or heads
        channels: int = stated.get("head_dim") or hidden // heads
        inner: int | list[int] = stated.get("intermediate_size") or 4 * hidden
        return ModelShape(
            text.num_hidden_layers,
            hidden,
            max(inner) if isinstance(inner, list) else inner,
            heads,
            heads * channels,
            kv_heads * channels,
            text.vocab_size,
            rank,
            itemsize,
            text.model_type == "qwen3",
        )


def layer_bytes(shape: ModelShape) -> int:
    """Bytes that one layer keeps for each token, without checkpointing, with an adapter.

    In the base model's dtype: the two residual inputs and their norms (4 hidden); queries, keys and
    values before the norm of heads, where there is one; queries, keys and values of attention, its
    result and the output projection's input; gate, up, silu(gate) and their product. In float32:
    each LoRA module's thin product, the inverse norms and attention's log-sum-exps.
    """
    heads = shape.query + 2 * shape.kv
    wide = 4 * shape.hidden + heads + 2 * shape.query + 4 * shape.intermediate
    norms = 2
    if shape.normed_heads:
        wide += heads
        norms += shape.heads + shape.heads * shape.kv // shape.query
    return wide * shape.itemsize + _FLOAT * (7 * shape.rank + norms + shape.heads)


def checkpointed_layer_bytes(shape: ModelShape) -> int:
    """Bytes that one layer keeps for each token with checkpointing: its input."""
    return shape.hidden * shape.itemsize


def logits_bytes(shape: ModelShape, places: int) -> int:
    """Bytes of logits at the peak: one chunk, and its exponentials."""
    return 2 * min(max(LOGITS_CHUNK_BYTES, _FLOAT * shape.vocabulary), _all_logits(shape, places))


def _all_logits(shape: ModelShape, places: int) -> int:
    return _FLOAT * shape.vocabulary * places


def mask_bytes(tokens: int, shared: bool) -> int:
    """Bytes of the attention mask of a text: none unless it continues a shared prefix."""
    return min(MASK_BYTES, _FLOAT * tokens * tokens) if shared else 0


def activation_bytes(
    shape: ModelShape, tokens: int, checkpointing: bool, packed: bool = True
) -> int:
    """Bytes at the peak of reading `tokens` tokens at once and computing their gradients.

    Weights, adapter, its gradients and the optimizer come on top. With checkpointing one layer at a
    time is computed again.
    """
    one = int(layer_bytes(shape) * tokens * (1 if packed else _OWN_FORWARD))
    final = shape.hidden * shape.itemsize * tokens
    layer = checkpointed_layer_bytes(shape) * tokens if checkpointing else one
    # Whichever takes more: the head with its gradients, or the layer whose gradient is computed,
    # which checkpointing makes anew beforehand.
    head = 2 * final + logits_bytes(shape, tokens)
    return shape.layers * layer + 2 * final + max(head, int(_GRADIENT * one) + one * checkpointing)


def checkpointing_needed(
    choice: Checkpointing, shape: ModelShape, tokens: int, free: int | None, packed: bool = True
) -> bool:
    """Decide on checkpointing for an update whose largest piece has `tokens` tokens.

    With "auto" it is used where the activations without it would take more than half of the `free`
    bytes; where those are not known, it is not.
    """
    if choice != "auto":
        return choice == "on"
    return free is not None and activation_bytes(shape, tokens, False, packed) > _SHARE * free
