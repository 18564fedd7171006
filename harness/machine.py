"""What this machine is, which model suits it, and how long a full run would take on it."""

import os
import platform
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """The device a model would run on; `memory_gb` is the accelerator's, 0 on a CPU."""

    device: str
    name: str
    memory_gb: float
    cores: int


@dataclass(frozen=True, slots=True)
class Choice:
    """A model and preset for an environment here, and why."""

    model: str
    preset: str
    reason: str


def look() -> Machine:
    """Ask torch what there is (imports it)."""
    import torch

    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Machine("cuda", properties.name, properties.total_memory / 1e9, cores)
    if torch.backends.mps.is_available():
        return Machine("mps", platform.machine(), 0.0, cores)
    return Machine("cpu", platform.machine(), 0.0, cores)


def choose(machine: Machine) -> Choice:
    """The largest default model that trains comfortably on this machine."""
    if machine.memory_gb >= 38:
        return Choice("hf:Qwen/Qwen3-4B", "paper", f"{machine.name} holds a 4 B model with LoRA")
    if machine.memory_gb >= 14:
        return Choice(
            "hf:Qwen/Qwen3-0.6B", "paper", f"{machine.name} holds a 0.6 B model with LoRA"
        )
    return Choice(
        "smollm2",
        "laptop",
        f"no CUDA device with 14 GB or more was found ({machine.device}, {machine.cores} cores), "
        "and this 135 M model comes as a package",
    )


# Sampling speed of a 4 B model in bf16 at batch 150, tokens/s: an order of magnitude, no promise.
# 2 × 4e9 FLOP a token at a tenth of the arithmetic limit of an 80 GB data-centre GPU (8e14 FLOP/s).
_FULL_TOKENS_PER_SECOND = 10_000.0


def predicted_hours(episodes: int, test_episodes: int, tokens_a_reply: int) -> float:
    """Hours of sampling for a full run on one data-centre GPU, training taken as a third of it."""
    tokens = (episodes * 4 / 3 + test_episodes) * tokens_a_reply
    return tokens / _FULL_TOKENS_PER_SECOND / 3600
