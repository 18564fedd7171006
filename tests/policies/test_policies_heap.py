"""Freed memory is kept for the next tensor, unless somebody has set the allocator."""

import os
import subprocess
import sys

import pytest

from harness.policies.hf.allocator import keep_freed

FAULTS = """
import resource
import torch
torch.set_num_threads(1)
from harness.policies.hf.allocator import keep_freed
kept = keep_freed()
sets = [torch.ones(5_000_000) for _ in range(6)]
del sets
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    sets = [torch.ones(5_000_000) for _ in range(6)]
    del sets
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[bool, int]:
    """Whether memory is kept, and the page faults of ten times six tensors of 20 MB."""
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
