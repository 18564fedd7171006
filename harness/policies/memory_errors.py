"""Errors of memory that ran out: what was too long, and the setting that helps."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.errors import OutOfMemory
from harness.settings.model import ModelSettings
from harness.system.resource_errors import out_of_memory


def sampling_error(lengths: Sequence[int]) -> OutOfMemory:
    """The error where completions were sampled that had these tokens by then, prompts included."""
    rows, longest = len(lengths), max(lengths, default=0)
    what = (
        f"{rows:,} completions were sampled at a time, the longest with {longest:,} tokens so far"
    )
    setting = f"model.batch_rows={rows // 2}" if rows > 1 else ""
    return OutOfMemory(f"Memory ran out while {what}", setting)


def update_error(total: int, longest: int, settings: ModelSettings) -> OutOfMemory:
    """The error of an update on `total` tokens, of which the longest text has `longest`."""
    piece = max(longest, min(total, settings.micro_batch_tokens))
    what = f"an update read {piece:,} tokens at once; the longest text has {longest:,}"
    setting = ""
    if settings.checkpointing == "off":
        setting = "model.checkpointing=auto"
    elif piece > longest:
        setting = f"model.micro_batch_tokens={max(longest, piece // 2)}"
    elif settings.checkpointing == "auto":
        setting = "model.checkpointing=on"
    return OutOfMemory(f"Memory ran out while {what}", setting)


@contextmanager
def update_memory_explained(total: int, longest: int, settings: ModelSettings) -> Iterator[None]:
    """Raise what says that memory ran out inside the block as `update_error`."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise update_error(total, longest, settings) from error
