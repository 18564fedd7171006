"""The same work for all contestants: prompts, groups, limits and LoRA, by model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Work:
    """One unit of work: `tasks` × `samples` completions of up to `limit` tokens."""

    model: str
    env: str
    preset: str
    tasks: int
    samples: int
    limit: int
    batch_rows: int
    """How many replies ours samples at the same time."""
    chunk: int
    """How many `generate` samples at the same time: what is fastest for it, measured."""
    lora_rank: int
    lora_alpha: int
    rounds: int
    """How many times as many replies are sampled where only sampling is measured."""

    def lengths(self, mixed: bool) -> list[int]:
        """A length for each reply: the limit, or uniform between an eighth of it and all of it."""
        count = self.rounds * self.tasks * self.samples
        if not mixed:
            return [self.limit] * count
        source = np.random.default_rng(0)
        return [int(n) for n in source.integers(self.limit // 8, self.limit + 1, count)]


WORKS = {
    "pocket": Work("pocket", "calibration/both", "pocket", 8, 10, 64, 240, 240, 8, 32, 3),
    "smollm2": Work("smollm2", "arithmetic", "laptop", 4, 8, 64, 32, 32, 8, 32, 2),
}
