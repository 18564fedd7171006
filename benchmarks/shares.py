"""What it costs to share a gradient step between processes, and to spread the weights over them.

    python -m benchmarks.shares --model pocket
    python -m benchmarks.shares --model smollm2 --replies 8 --tokens 16 --repeats 1

Samples and takes a step in one process, in several with the whole model each, and in several with a
share of it each, one after the other, `--rounds` times over. One thread a process, CPU, float32.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WAYS = ("one", "whole", "shares")


def resident(pid: int | str) -> int:
    """MiB of memory that a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS"))


def held(policy: Any) -> int:
    """MiB of base weights in this process, each storage once."""
    parts = [
        getattr(p, "to_local", lambda p=p: p)()
        for name, p in policy._model.named_parameters()
        if "lora_" not in name
    ]
    stored = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in parts}
    return int(sum(stored.values()) // 2**20)


def spread(numbers: Sequence[float], form: str) -> str:
    middle, least, most = statistics.median(numbers), min(numbers), max(numbers)
    return f"{middle:{form}} ({least:{form}} to {most:{form}})"


def opened(asked: argparse.Namespace) -> Any:
    from harness.engine import EngineSection
    from harness.policies import open_policy
    from harness.policies.launching import open_parallel
    from harness.policies.settings import ModelSettings

    settings = ModelSettings(device="cpu", threads=1, batch_rows=32)
    if asked.way == "one":
        return open_policy(asked.model, settings)
    engine = EngineSection("accelerate", processes=asked.processes, shard=asked.way == "shares")
    return open_parallel(asked.model, settings, engine)


def measure(asked: argparse.Namespace) -> None:
    """One way; prints one line."""
    from agents.parts import losses
    from harness.policies.base import BatchSize, Request, Sample, Sampling, Step
    from harness.types import Message

    policy = opened(asked)
    time.sleep(2)
    pids = [os.getpid(), *(h.pid for h in getattr(policy, "_helpers", ()))]
    before = [resident(pid) for pid in pids]
    loss = losses.build("importance_sampling", max_tokens=64, idle=BatchSize(0, 0))
    sampling = Sampling(1.0, 1.0, asked.tokens)
    rates, steps = [], []
    for _ in range(asked.repeats + 1):
        requests = [
            Request(f"r{n}", (Message("user", f"What is {n // 4} + 3?"),), sampling, n)
            for n in range(asked.replies)
        ]
        began = time.perf_counter()
        said = {id: c.tokens for id, c in policy.generate(deque(requests))}
        rates.append(sum(len(t.sampled) for t in said.values()) / (time.perf_counter() - began))
        samples = [
            Sample(t.prompt, t.sampled, t.logprobs, 1.0 if n % 2 else -1.0)
            for n, t in enumerate(said[r.id] for r in requests)
        ]
        began = time.perf_counter()
        policy.update(samples, loss, Step(learning_rate=1e-5))
        steps.append(time.perf_counter() - began)
    print(
        f"{asked.model} {asked.way}: sampling {spread(rates[1:], '.0f')} tokens/s, step "
        f"{spread(steps[1:], '.2f')} s, base weights {held(policy)} MiB, memory of each process "
        f"{before} MiB, after steps {[resident(pid) for pid in pids]} MiB",
        flush=True,
    )
    if (close := getattr(policy, "close", None)) is not None:
        close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--replies", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3, help="after one that is not counted")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        measure(asked)
        return 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(asked.rounds):
        for way in WAYS:
            again = [sys.executable, "-m", "benchmarks.shares", *sys.argv[1:], "--way", way]
            subprocess.run(again, check=True, env=environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
