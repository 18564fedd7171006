"""Freed memory is kept for the next tensor, unless somebody has set the allocator."""

import os
import subprocess
import sys

import pytest

from harness.policies.heap import keep_freed

FAULTS = """
import resource
import torch
from harness.policies.heap import keep_freed
kept = keep_freed()
torch.ones(12_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(12_000_000)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and the page faults of twenty tensors of 48 MB, one by one."""
    free = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(
        command, env=free | environment, capture_output=True, text=True, check=True
    )
    kept, count = done.stdout.split()
    return kept == "1", int(count)


def test_memory_is_kept_unless_the_allocator_is_set() -> None:
    kept, few = faults()
    if not kept:
        pytest.skip("not run: the C library is not glibc")
    # A setting that changes nothing, so that what is compared is glibc as it comes.
    left, many = faults(GLIBC_TUNABLES="glibc.malloc.check=0")
    assert not left
    assert few < many / 3


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed()
