"""Memory and disk that a run would need, from its configuration and its model's `config.json`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import agents
from harness.policies import kind_of
from harness.policies.memory_check import free_memory
from harness.policies.memory_plan import (
    PACKED,
    EpisodeSizes,
    MemoryNeed,
    MemoryWork,
    ModelSizes,
    checkpoint_bytes,
    engine_share,
    export_bytes,
    learner_bytes,
    longest_reply,
    sampling_memory,
    update_memory,
)
from harness.policies.model_config import read_local_config
from harness.settings.config import Config
from harness.settings.model import ModelSettings
from harness.system import hardware

_CARDS = (24, 40, 80)  # GB of common GPUs, which a plan is often made for


@dataclass(frozen=True, slots=True)
class PlannedMemory:
    """Bytes of one run; `missing` says what is not known, and why.

    `sampling` and `update` are peaks by part (None: nothing is trained, or not known how). `fit` is
    the longest reply, in tokens, by gigabytes of memory; `free` is what is free here.
    """

    missing: str = ""
    device: str = ""
    dtype: str = ""
    parameters: int = 0
    context: int | None = None
    trains: bool = False
    rows: int = 0
    sampling: Mapping[str, int] | None = None
    update: Mapping[str, int] | None = None
    free: int | None = None
    longest: int | None = None
    fit: Mapping[int, int] | None = None
    engine_share: float | None = None
    checkpoint: int = 0
    exported_adapter: int = 0
    exported_model: int = 0


def episode_sizes(
    request: Config, prompt: float, context: int | None = None, trains: bool | None = None
) -> EpisodeSizes:
    """The longest episodes of a run; `prompt` is the tokens of a first prompt."""
    shape, reply = request.budget, request.sampling.max_tokens
    if context is not None:
        reply = min(reply, max(1, context - round(prompt)))
    episodes = shape.tasks * shape.prompts * shape.samples
    trained = agents.trains_weights(request.method) if trains is None else trains
    return EpisodeSizes(round(prompt), reply, episodes, trained)


def plan_memory(request: Config, prompt: float) -> PlannedMemory:
    """The prediction for one run; `prompt` is the tokens of a first prompt."""
    found = read_local_config(request.model_url)
    if found.missing:
        return PlannedMemory(found.missing)
    sizes = ModelSizes.of_config(found.values)
    if sizes is None:
        kind = found.values.get("model_type", "not named in its config.json")
        return PlannedMemory(f"the memory of models of the architecture {kind} is not known")
    device, dtype = _resolved(request.model)
    own = request.model.forward != "transformers" and device != "mps"
    packed = own and sizes.model_type in PACKED
    episodes = episode_sizes(request, prompt, sizes.context)
    work = MemoryWork.of(episodes, request.model, 4 if dtype == "float32" else 2, packed)
    here = hardware.detect().device
    free = free_memory(device) if device == here else None
    # Where it is not known what is free, "auto" is taken to checkpoint, which needs least.
    update = update_memory(sizes, work, free or 0)
    adapter, whole = export_bytes(sizes, work.rank, work.itemsize)
    return PlannedMemory(
        device=device,
        dtype=dtype,
        parameters=sizes.parameters,
        sampling=None if _served(request) else sampling_memory(sizes, work).parts,
        update=update.parts if update else None,
        free=free,
        longest=longest_reply(sizes, work, free) if free is not None else None,
        fit={gb: longest_reply(sizes, work, gb * 10**9) for gb in _CARDS},
        engine_share=_share(request, sizes, work, device),
        trains=work.trains,
        rows=work.rows,
        context=sizes.context,
        checkpoint=checkpoint_bytes(sizes, work.rank) if work.trains else 0,
        exported_adapter=adapter,
        exported_model=whole,
    )


def _resolved(model: ModelSettings) -> tuple[str, str]:
    """Device and dtype as opening the model would choose them."""
    device = hardware.detect().device if model.device == "auto" else model.device
    dtype = model.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device == "cuda" else "float32"
    return device, dtype


def _served(request: Config) -> bool:
    """True where a server or an engine of its own holds the model that samples."""
    return kind_of(request.model_url) != "hf"


def _share(request: Config, sizes: ModelSizes, work: MemoryWork, device: str) -> float | None:
    """The share of the GPU that an engine beside the learner may take; None where there is none."""
    total = hardware.detect().memory_gb * 1e9
    if not _served(request) or device != "cuda" or not total:
        return None
    learner = learner_bytes(sizes, work.rank, work.itemsize)
    return engine_share(learner, int(total), int(total))


def memory_lines(found: PlannedMemory) -> Iterator[str]:
    """The prediction as lines of text."""
    if found.missing:
        yield f"memory: not known: {found.missing}"
        return
    yield f"memory of one run on {found.device}, as {found.dtype}, computed from the model's sizes:"
    rows = f"sampling {found.rows:,} completions at a time"
    for name, parts in ((rows, found.sampling), ("an update", found.update)):
        if parts is not None:
            need = MemoryNeed(parts)
            said = ", ".join(f"{part} {_gb(size)}" for part, size in parts.items())
            yield f"  {name}: {_gb(need.total)} at most ({said}); the largest is {need.largest}"
    if found.sampling is not None:
        yield "    (a run samples fewer at a time where these do not fit)"
    if found.sampling is None:
        yield "  sampling: what the engine or server takes"
    if found.update is None and found.trains:
        yield "  an update: not known for a mixture of experts"
    if found.engine_share is not None:
        yield f"  share of the GPU that a vLLM engine may take: {100 * found.engine_share:.0f} %"
    if found.longest is not None and found.free is not None:
        yield f"  longest reply in the {_gb(found.free)} free here: {_tokens(found.longest)}"
    cards = ", ".join(f"{_tokens(n)} in {gb} GB" for gb, n in (found.fit or {}).items())
    limit = f" (the model's context holds {found.context:,})" if found.context else ""
    yield f"  longest reply on other devices: {cards}{limit}"
    if found.checkpoint:
        yield (
            f"disk of one run: {_gb(found.checkpoint)} for its checkpoint (adapter and optimizer), "
            f"twice that while a new one is written; an export takes {_gb(found.exported_adapter)} "
            f"as an adapter, {_gb(found.exported_model)} merged"
        )


def _tokens(count: int) -> str:
    return f"{count:,} tokens" if count else "none"


def _gb(size: float) -> str:
    """Bytes as gigabytes or megabytes, whichever is short."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
