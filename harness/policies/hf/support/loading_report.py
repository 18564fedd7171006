"""Refuses weights that do not fit their model: tensors missing, left over, or of another shape.

Transformers fills such gaps with random numbers and says so in a log message at most.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.errors import ModelError
from harness.policies.memory_check import stored_tensors

_PLAIN = ("F64", "F32", "F16", "BF16", "BOOL")  # as safetensors names them
_WHOLE = ("I16", "I32", "I64", "U16", "U32", "U64")
_NAMED = 3  # tensors named of each kind
# Causal masks and positions, which files of old releases (GPT-2, GPT-J, GPT-Neo, CodeGen) hold and
# models compute themselves. An attention has no bias of its own: its layers do.
_COMPUTED = re.compile(
    r"\.attn\.bias$|\.attention\.bias$|(^|\.)(masked_bias|causal_mask|inv_freq|position_ids)$"
)
# What training tools put before every name, and how to take it off.
_PREFIXES = {
    "_orig_mod.": "saved from a compiled model: save model._orig_mod instead",
    "base_model.model.": "saved with an adapter attached: merge it first (merge_and_unload)",
    "module.": "saved from a wrapper for several devices: save model.module instead",
}


def require_complete(name: str, report: Mapping[str, Any]) -> None:
    """Refuse a model whose loading report has any entry; `report` is transformers' own.

    Raises:
        ModelError: Names the tensors.
    """
    missing = set(report["missing_keys"])
    unexpected = {key for key in report["unexpected_keys"] if not _COMPUTED.search(key)}
    mismatched = [
        f"{key} ({_shape(stored)} in the file, {_shape(wanted)} in the model)"
        for key, stored, wanted in sorted(report["mismatched_keys"])
    ]
    found = [
        _some("no", missing),
        _some("left over", unexpected),
        _some("of another shape", mismatched),
    ]
    if not any(found):
        return
    raise ModelError(
        f"The weights of '{name}' are not those that its config.json describes "
        f"({'; '.join(part for part in found if part)}){_advice(missing, unexpected)}."
    )


def require_plain_numbers(name: str, folder: Path) -> None:
    """Refuse quantised tensors without a word about how: they would be taken for plain numbers.

    Raises:
        ModelError: Names the tensors.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    if any(part.get("quantization_config") for part in parts):
        return
    packed = [
        f"{key} ({kind})"
        for key, shape, kind in stored_tensors(folder)
        if kind not in _PLAIN
        and not _COMPUTED.search(key)
        # Wider whole numbers are positions and tables, unless they stand for a matrix.
        and (kind not in _WHOLE or (len(shape) > 1 and key.endswith("weight")))
    ]
    if packed:
        raise ModelError(
            f"The model '{name}' holds quantised tensors ({_some('', packed).lstrip(': ')}), but "
            "its config.json has no quantization_config that says how: add the one that it was "
            "quantised with, or take its original weights."
        )


def require_end_tokens(name: str, generation: Any) -> None:
    """Refuse end tokens that are not token ids, such as "</s>": no reply would ever end there.

    Raises:
        ModelError: Names the field.
    """
    stated = None if generation is None else generation.eos_token_id
    ids = stated if isinstance(stated, list) else [] if stated is None else [stated]
    # A truth value is a number to Python, and would be token 0 or 1.
    if any(isinstance(i, bool) or not isinstance(i, int) for i in ids):
        raise ModelError(
            f"The model '{name}' states eos_token_id {str(stated)[:60]!r} in its "
            "generation_config.json: give the number of the end token, or a list of numbers."
        )


def _some(kind: str, keys: Iterable[str]) -> str:
    ordered = sorted(keys)
    if not ordered:
        return ""
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return f"{kind}: {', '.join(ordered[:_NAMED])}{more}"


def _shape(size: Iterable[int]) -> str:
    return "×".join(map(str, size))


def _advice(missing: set[str], unexpected: set[str]) -> str:
    for prefix, advice in _PREFIXES.items():
        if any(key.startswith(prefix) for key in unexpected):
            return f". They were {advice}"
    if any(key.startswith(("score.", "v_head.", "value_head.")) for key in unexpected):
        return ". It looks like a reward or value model, which does not write text"
    if missing and all("head" in key or "embed" in key for key in missing):
        return ". It looks like a backbone without the head that writes text"
    return ": the files may be incomplete, so download or save them again"
