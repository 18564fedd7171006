"""Peak memory of KV caches while they grow, admit rows and lose them, in a process of its own."""

import subprocess
import sys

import pytest

# A decoding loop over a cache of the given shape, without a model: columns are written one by one.
PROGRAM = """
import sys, torch
from harness.policies.hf.allocator import keep_freed
from harness.policies.hf.fast_llama.kv_cache import DecodeKVCache

LAYERS, ROWS, HEADS, COLUMNS, CHANNELS = 24, 16, 4, 600, 64
keep_freed()

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(n.split()[1]) for n in lines if n.startswith("VmHWM:"))

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(n.split()[1]) for n in lines if n.startswith("VmRSS:"))

def decode(cache, columns):
    for _ in range(columns):
        cache.open_column()
        for keys, values in cache.layers:
            keys[:, :, cache.used] = values[:, :, cache.used] = 1.0
        cache.column_written()
    return cache

def cache(rows):
    return DecodeKVCache.empty([torch.zeros(0, HEADS, 0, CHANNELS)] * LAYERS, rows)

decode(cache(1), 20)
open("/proc/self/clear_refs", "w").write("5")
base = resident()
if sys.argv[1] == "grow":
    state = decode(cache(ROWS), COLUMNS)
elif sys.argv[1] == "admit":
    state = decode(cache(ROWS // 2), COLUMNS // 2)
    state = DecodeKVCache.stack([state, cache(ROWS // 2)])
    decode(state, COLUMNS // 2)
else:
    state = decode(cache(ROWS), COLUMNS // 2)
    state, _ = state.remove_rows([0, 3])
    decode(state, COLUMNS // 2)
    ROWS -= 2
print((peak() - base) / (2 * LAYERS * ROWS * HEADS * COLUMNS * CHANNELS * 4))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="not run: peak memory is read from /proc")
@pytest.mark.parametrize("case", ["grow", "admit", "remove"])
def test_a_growing_cache_never_stands_beside_its_copy(case: str) -> None:
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM, case], capture_output=True, text=True, check=True
    )
    assert 0.9 < float(child.stdout) <= 1.3
