"""Hardware of this machine, the default model for it, and the time of a full run on it."""

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """The device a model would run on; `memory_gb` is the accelerator's, 0 on a CPU."""

    device: str
    name: str
    memory_gb: float
    cores: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The default model and preset for an environment on this machine, and the reason."""

    model: str
    preset: str
    reason: str


def cores() -> int:
    """Cores that this process may use."""
    # macOS has no sched_getaffinity.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def visible_gpus(
    environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev")
) -> list[str]:
    """NVIDIA GPUs that a process started from here would see, as CUDA_VISIBLE_DEVICES names them.

    Torch is not asked: it would open the driver in a process that computes nothing itself.
    """
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        found = [p for p in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)]
        # CUDA counts from 0 what is there; in a container a file's number may be another.
        return [str(number) for number in range(len(found))]
    visible = []
    for name in (part.strip() for part in named.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-\S+", name):
            break  # as for CUDA, nothing after it counts
        if name in visible:
            return []  # as for CUDA, which then shows none
        visible.append(name)
    return visible


def detect() -> Machine:
    """Ask torch what there is (imports it); without torch only endpoints can be used."""
    count = cores()
    try:
        import torch
    except ImportError:
        return Machine("cpu", platform.machine(), 0.0, count)
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Machine("cuda", properties.name, properties.total_memory / 1e9, count)
    if torch.backends.mps.is_available():
        return Machine("mps", platform.machine(), 0.0, count)
    return Machine("cpu", platform.machine(), 0.0, count)


def default_model(machine: Machine, env: str = "") -> Choice:
    """The model made for `env`, or else the largest default that trains here on 4,096 tokens.

    Computed (`harness.policies.memory_plan`), not measured: sampling 32 such replies takes 35 GB
    with 4 B parameters and 22 GB with 0.6 B, an update without checkpointing 51 and 15 GB. Smaller
    devices can do the same with fewer rows and with checkpointing, but nobody has tried.
    """
    if env.startswith("calibration/"):
        return Choice(
            "pocket", "pocket", "it speaks this environment's language and learns in seconds"
        )
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
