"""A GPU's memory between a vLLM engine and the learner beside it.

While the engine samples, the learner keeps its copy of the weights, its adapter and its optimizer
on the GPU. While the learner computes a step the engine sleeps, so that the activations need no
room beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ModelError
from harness.policies.memory_check import weights_size
from harness.policies.memory_plan import ModelSizes, engine_share, learner_bytes

_WORKSPACE = 2 << 30  # bytes that an engine takes besides weights, keys and values
_MOST_ROWS = 256
# Completions rarely are as long as the context: room is planned for a quarter of it each. Where
# they are longer, vLLM puts some back and reads them again later.
_USUAL_LENGTH = 1 / 4
_UNKNOWN_CONTEXT = 4096


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes of a device, in all and free."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """An engine's share of the device, its completions at a time, and the learner's bytes."""

    share: float
    rows: int
    learner: int

    def note(self, total: int) -> str:
        """One sentence for users."""
        return (
            f"Memory: vLLM has {100 * self.share:.0f} % of the GPU's {total / 1e9:.0f} GB and runs "
            f"up to {self.rows} completions at once; {self.learner / 1e9:.1f} GB are left for the "
            "learner, which has the rest while vLLM sleeps."
        )


def plan_engine(
    folder: Path, dtype: str, rank: int, context: int, device: DeviceMemory, sleeps: bool
) -> EngineMemory:
    """An engine's share of a GPU that a learner of rank `rank` uses too.

    `context` is the longest prompt and reply, 0 for the model's own.

    Raises:
        ModelError: The GPU cannot hold the model twice; states the sizes.
    """
    sizes = ModelSizes.of_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    weights, item = weights_size(folder).loaded(dtype), 4 if dtype == "float32" else 2
    learner = learner_bytes(sizes, rank, item) if sizes else weights
    share = engine_share(learner, device.total, device.free, sleeps)
    if share * device.total < weights + _WORKSPACE:
        raise ModelError(
            f"The GPU has {device.free / 1e9:.1f} GB free, but vLLM and the learner hold the model "
            f"twice: {learner / 1e9:.1f} GB and {(weights + _WORKSPACE) / 1e9:.1f} GB at least. "
            "Choose a smaller model, sample and train as hf:…, or let a server on another GPU "
            "sample (vllm:http://HOST:PORT#MODEL)."
        )
    cache = share * device.total - weights - _WORKSPACE
    longest = context or (sizes.context if sizes else None) or _UNKNOWN_CONTEXT
    # Of an architecture whose keys and values are not known here, vLLM itself finds out.
    tokens = cache / sizes.kv_bytes(item) if sizes else _MOST_ROWS * longest
    rows = min(_MOST_ROWS, max(1, int(tokens / (longest * _USUAL_LENGTH))))
    return EngineMemory(share, rows, learner)
