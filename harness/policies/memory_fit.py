"""Fit a loaded model's settings to the memory that is free, before anything is sampled.

Rows and micro-batches shrink where they have to; what cannot fit even then is refused. Settings
that are recorded with the run stay as they are, so that a resumed run samples the same batches.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.errors import ModelError
from harness.policies.memory_plan import (
    MemoryWork,
    ModelSizes,
    fits,
    kv_row_bytes,
    longest_reply,
    sampling_memory,
    standing_memory,
    update_memory,
)
from harness.settings.model import ModelSettings

_USED = 0.9  # share of the free memory that is planned with


@dataclass(frozen=True, slots=True)
class FittedSettings:
    """Settings that fit, and the note on what was changed; "" where nothing was."""

    settings: ModelSettings
    note: str = ""


def fit_settings(
    name: str, sizes: ModelSizes, work: MemoryWork, settings: ModelSettings, free: int
) -> FittedSettings:
    """The settings of a model whose weights are loaded, with `free` bytes left beside them.

    Raises:
        ModelError: The longest reply does not fit; names the setting that helps.
    """
    memory = free + sizes.parameters * work.itemsize
    if not fits(sizes, work, memory):
        raise _refusal(name, sizes, work, memory)
    changes = []
    most = int(_USED * memory)
    micro = _micro_batch(sizes, work, most)
    if micro < work.micro_batch_tokens:
        work = replace(work, micro_batch_tokens=micro)
        settings = replace(settings, micro_batch_tokens=micro)
        changes.append(f"{micro:,} tokens are read at once (model.micro_batch_tokens={micro})")
    if not settings.kv_cache_gb and sampling_memory(sizes, work).total > most:
        one = kv_row_bytes(sizes, work.itemsize, work.longest)
        other = sampling_memory(sizes, work).total - work.rows * one
        cache = max(one, most - other)
        # In whole megabytes; rounded up for a single row, so that the row still fits.
        megabytes = -(-cache // 10**6) if cache == one else cache // 10**6
        settings = replace(settings, kv_cache_gb=megabytes / 1000)
        rows = max(1, min(work.rows, cache // one))
        changes.append(
            f"at most {rows:,} of {work.rows:,} completions of {work.reply:,} tokens are sampled "
            f"at a time (model.kv_cache_gb={settings.kv_cache_gb:g})"
        )
    if not changes:
        return FittedSettings(settings)
    note = f"memory: {free / 1e9:,.1f} GB are free for {name}, so {' and '.join(changes)}"
    return FittedSettings(settings, note)


def _micro_batch(sizes: ModelSizes, work: MemoryWork, most: int) -> int:
    """The largest micro-batch that fits, by halves; that of the longest reply always does."""
    tokens = work.micro_batch_tokens
    while tokens > work.longest and _peak(sizes, work, tokens, most) > most:
        tokens = max(work.longest, tokens // 2)
    return tokens


def _peak(sizes: ModelSizes, work: MemoryWork, tokens: int, most: int) -> int:
    one = replace(work, rows=1, micro_batch_tokens=tokens)
    update = update_memory(sizes, one, most - standing_memory(sizes, work))
    return update.total if update else sampling_memory(sizes, one).total


def _refusal(name: str, sizes: ModelSizes, work: MemoryWork, memory: int) -> ModelError:
    """The error for a reply that does not fit; the first setting that would help is named."""
    one = replace(work, rows=1, micro_batch_tokens=1)
    update = update_memory(sizes, one, memory - standing_memory(sizes, work))
    sampled = sampling_memory(sizes, one)
    need = update if update is not None and update.total > sampled.total else sampled
    what = "an update on" if need is update else "sampling"
    longest = longest_reply(sizes, work, memory)
    if work.checkpointing == "off" and fits(sizes, replace(work, checkpointing="on"), memory):
        helps = "set model.checkpointing=auto"
    elif longest > 0:
        helps = f"set sampling.max_tokens={longest} (a reduced Track)"
    elif work.itemsize == 4 and fits(sizes, replace(work, itemsize=2, merged=False), memory):
        helps = "set model.dtype=bfloat16"
    else:
        helps = "choose a smaller model, or a hosted one (tinker:ORG/NAME)"
    return ModelError(
        f"{what.capitalize()} one reply of {work.reply:,} tokens takes {need.total / 1e9:,.1f} GB "
        f"with '{name}' (most of it {need.largest}), and {memory / 1e9:,.1f} GB are there, weights "
        f"included: {helps}."
    )
