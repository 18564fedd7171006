"""Share of the device's limits that sampling and training reach, on one GPU or on the CPU.

    python benchmarks/gpu.py                         pocket, and smollm2 where its weights are
    python benchmarks/gpu.py --models pocket --dtype bfloat16

It needs the project's own dependencies only. Without a GPU it measures the CPU and says so. The
limits are measured too: a large matrix product for arithmetic, a large copy for bandwidth. The
share of the arithmetic limit counts two operations a weight and sampled token; the share of the
bandwidth limit counts one reading of all weights a decoding step.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.speed.sampling import Once, generate, open_model, ours, requests
from benchmarks.speed.work import WORKS
from harness.errors import ModelError
from harness.policies.base import BatchSize, Sample, Step, TokenBatch
from harness.policies.hf.policy import HFPolicy


def waited(device: str) -> float:
    """The clock, once the device has done what it was asked."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(work: Callable[[], object], device: str, repeats: int) -> float:
    """The median over repeats, after one that does not count."""
    work()
    found = []
    for _ in range(repeats):
        began = waited(device)
        work()
        found.append(waited(device) - began)
    return statistics.median(found)


def limits(device: str, dtype: torch.dtype) -> tuple[float, float]:
    """Operations and bytes a second that the device reaches at best."""
    size = 8192 if device == "cuda" else 1024
    a = torch.randn(size, size, device=device).to(dtype)
    operations = 2 * size**3 / seconds(lambda: a @ a, device, 5)
    block = torch.zeros((2**31 if device == "cuda" else 2**27) // 4, device=device)
    other = torch.empty_like(block)
    return operations, 2 * 4 * block.numel() / seconds(lambda: other.copy_(block), device, 5)


def race(contestants: dict[str, Once], device: str, repeats: int) -> dict[str, float]:
    """Tokens a second of each, run in turn; medians."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, once in contestants.items():
            began = waited(device)
            tokens, _ = once()
            if turn:
                found[name].append(tokens / (waited(device) - began))
    return {name: statistics.median(values) for name, values in found.items()}


def reinforce(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
    return -(batch.new * batch.advantage * batch.mask).sum() / size.sequences


def update_seconds(policy: HFPolicy, samples: list[Sample], repeats: int) -> float:
    step = Step(learning_rate=1e-6)
    device = policy.settings.device
    return seconds(lambda: policy.update(samples, reinforce, step), device, repeats)


def measure(name: str, device: str, dtype: str, rows: int, repeats: int) -> None:
    work = replace(WORKS[name], rounds=1, samples=rows // WORKS[name].tasks, batch_rows=rows)
    task = {"device": device, "dtype": dtype, "threads": 0 if device == "cuda" else 1}
    task |= {"mixed": True, "chunk": rows}
    policy = open_model(work, task)
    own_ends = policy.rendering.ends
    lean = ours(work, task, policy)
    found = race({"ours": lean, "generate": generate(work, task, policy)}, device, repeats)
    operations, bandwidth = limits(device, getattr(torch, dtype))
    model = policy._model
    weights = sum(p.numel() for p in model.parameters())
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    lengths = work.lengths(True)
    steps = max(lengths) * found["ours"] / sum(lengths)  # a second
    print(f"{name}, {dtype}, {rows} completions of {min(lengths)} to {max(lengths)} tokens:")
    print(f"  sampling, tokens/s: {found['ours']:,.0f}; generate: {found['generate']:,.0f}")
    print(f"  of the arithmetic limit: {2 * weights * found['ours'] / operations:.1%}")
    print(f"  of the bandwidth limit:  {steps * size / bandwidth:.1%}")
    asked = requests(work, lengths)
    replies = dict(policy.generate(deque(asked)))
    tokens = [replies[r.id].tokens for r in asked]
    samples = [
        Sample(t.prompt, t.sampled, t.logprobs, 1.0 if i % 2 else -1.0)
        for i, t in enumerate(tokens)
        if t is not None
    ]
    policy.rendering.ends = own_ends
    spent = update_seconds(policy, samples, repeats)
    print(f"  update: {spent:.3f} s for {sum(len(s.sampled) for s in samples):,} sampled tokens")
    if device == "cuda":
        print(f"  peak memory: {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    there = torch.cuda.is_available()
    parser.add_argument("--models", default="pocket,smollm2")
    parser.add_argument("--dtype", default="bfloat16" if there else "float32")
    parser.add_argument("--rows", type=int, default=512 if there else 32)
    parser.add_argument("--repeats", type=int, default=5 if there else 2)
    asked = parser.parse_args()
    device = "cuda" if there else "cpu"
    where = torch.cuda.get_device_name() if there else "there is no GPU here: the CPU, one thread"
    print(f"{time.strftime('%Y-%m-%d')}, {where}, torch {torch.__version__}")
    for name in asked.models.split(","):
        try:
            measure(name, device, asked.dtype, asked.rows, asked.repeats)
        except ModelError as error:
            print(f"{name}: not measured: {error}")


if __name__ == "__main__":
    main()
