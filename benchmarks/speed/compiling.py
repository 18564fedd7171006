"""A worker that decodes one token per row with transformers' forward pass, compiled or not.

80 rows, each with 128 tokens before it in a static cache, whose shapes never change: the best case
for a compiler. `parts` holds the CPU seconds of the first two steps, in which it compiles.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import _inductor as inductor
from transformers import StaticCache

from benchmarks.speed.race import serve
from benchmarks.speed.sampling import Once, open_model
from benchmarks.speed.work import WORKS
from harness.policies.hf.policy import HFPolicy

ROWS, BEFORE = 80, 128
STEPS = 20  # a turn; choices.py knows it too


def compiler_seconds() -> float:
    """CPU of this process and of the compilers that it has started."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def steps(policy: HFPolicy, task: Mapping[str, Any]) -> Once:
    """The work of a turn, after what it takes to get ready."""
    model: Any = policy._model
    model.set_attn_implementation("sdpa")
    cache = StaticCache(config=model.config, max_cache_len=BEFORE + 256)
    generator = torch.Generator().manual_seed(0)
    size = model.config.vocab_size
    with torch.no_grad():
        prompts = torch.randint(5, size, (ROWS, BEFORE), generator=generator)
        model(input_ids=prompts, past_key_values=cache)
    forward = torch.compile(model.forward, dynamic=False) if task["compiled"] else model.forward
    token, place = prompts[:, :1].clone(), torch.full((ROWS, 1), BEFORE)

    def step() -> None:
        with torch.no_grad():
            forward(input_ids=token, past_key_values=cache, position_ids=place)

    inductor.config.force_disable_caches = True  # what an earlier process compiled does not count
    began = compiler_seconds()
    step()
    step()
    ready = compiler_seconds() - began

    def once() -> tuple[int, Mapping[str, float]]:
        for _ in range(STEPS):
            step()
        return STEPS * ROWS, {"ready": ready}

    return once


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    serve(steps(open_model(WORKS[task["model"]], task), task))
