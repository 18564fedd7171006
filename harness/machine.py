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


def choose(machine: Machine, env: str = "") -> Choice:
    """The model made for a world, or else the largest default that trains here on 4,096 tokens.

    Computed, not measured: 32 rows of keys and values, one reply's activations without
    checkpointing, and its logits over 152 k words take about 60 GB with 4 B parameters and
    about 30 GB with 0.6 B.
    """
    if env.startswith("calibration/"):
        return Choice("pocket", "pocket", "it speaks this world's language and learns in seconds")
    if machine.memory_gb >= 75:
        return Choice("hf:Qwen/Qwen3-4B", "gpu", f"{machine.name} has room for 4 B with LoRA")
    if machine.memory_gb >= 38:
        return Choice("hf:Qwen/Qwen3-0.6B", "gpu", f"{machine.name} has room for 0.6 B with LoRA")
    return Choice(
        "smollm2",
        "laptop",
        f"no CUDA device with 38 GB or more was found ({machine.device}, {machine.cores} cores), "
        "and this 135 M model comes as a package",
    )


# An eager decoding step of a 36-layer model on a data-centre GPU is bound by launching kernels, not
# by arithmetic: about 30 ms whatever the batch. An estimate to plan by; no measurement of ours.
_STEP_SECONDS = 0.03


def predicted_hours(episodes: int, test_episodes: int, tokens_a_reply: int, rows: int) -> float:
    """Hours of a full run on one data-centre GPU with `rows` replies at a time.

    Reflection and training are taken as a third of acting each.
    """
    tokens = (episodes * 5 / 3 + test_episodes) * tokens_a_reply
    return tokens / rows * _STEP_SECONDS / 3600
