"""Workers that take one update from the same samples: packed, or with padded rows."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.speed.race import serve
from benchmarks.speed.sampling import Once, open_model, requests
from benchmarks.speed.work import WORKS, Work
from harness.policies.base import BatchSize, Sample, Step, TokenBatch
from harness.policies.hf.policy import HFPolicy


def reinforce(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
    return -(batch.new * batch.advantage * batch.mask).sum() / size.sequences


class Modules(HFPolicy):
    """Reads padded rows through the model's own modules."""

    @property
    def _train_forward(self) -> Any:
        return self._padded_forward


def update(work: Work, task: Mapping[str, Any], policy: HFPolicy) -> Once:
    count = work.tasks * work.samples
    asked = requests(work, [work.limit] * count * work.rounds)[:count]
    samples = []
    for i, (_, reply) in enumerate(sorted(policy.generate(deque(asked)))):
        assert reply.tokens is not None
        tokens = reply.tokens
        samples.append(Sample(tokens.prompt, tokens.sampled, tokens.logprobs, 1.0 - 2 * (i % 2)))
    if task["who"] == "modules":
        policy.__class__ = Modules

    def once() -> tuple[int, Mapping[str, float]]:
        metrics = policy.update(samples, reinforce, Step(learning_rate=0.0))
        return int(metrics["tokens"]), {}

    return once


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    wanted = WORKS[task["model"]]
    serve(update(wanted, task, open_model(wanted, task)))
