"""A worker that takes updates of a small random model, for their peak memory or their time.

With `who` "plain" the update is what a straightforward implementation does: the model's own forward
pass, all logits, log_softmax, autograd.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen3Config

from benchmarks.speed.race import serve
from benchmarks.speed.sampling import Once
from benchmarks.speed.updates import reinforce
from harness.policies.base import Sample, Step
from harness.policies.hf.adapters.lora_layers import LoraShape
from harness.policies.hf.allocator import keep_freed
from harness.policies.hf.fast_llama.fused_weights import FusedLlama
from harness.policies.hf.fast_llama.train_forward import PackedForward
from harness.policies.hf.lora import LoraAdapter
from harness.policies.hf.trainer import Trainer

PROMPT = 16  # tokens


def resident(kind: str) -> float:
    """Megabytes of this process now ("VmRSS") or at most so far ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(n.split()[1]) * 1024 / 1e6 for n in lines if n.startswith(kind))


def prepare(task: Mapping[str, Any]) -> Once:
    """The update, and in its parts the peak in megabytes above what the loaded model takes."""
    config = Qwen3Config(**task["config"], tie_word_embeddings=True)
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config).eval()
    model.requires_grad_(False)
    keep_freed()
    llama = None if task["who"] == "plain" else FusedLlama(model)
    adapter = LoraAdapter(model, LoraShape(rank=8, alpha=8, seed=0))
    count = task["tokens"] // task["completions"]
    ids = torch.randint(3, config.vocab_size, (task["completions"], count)).tolist()
    samples = [
        Sample(tuple(row[:PROMPT]), tuple(row[PROMPT:]), (-1.0,) * (count - PROMPT), 1.0)
        for row in ids
    ]
    on = task["who"] == "checkpointing"

    def plain() -> None:
        adapter.optimizer.zero_grad()
        logits = model(input_ids=torch.tensor(ids)).logits[:, PROMPT - 1 : -1]
        chosen = logits.log_softmax(-1).gather(2, torch.tensor(ids)[:, PROMPT:, None])
        torch.autograd.backward(-chosen.sum())
        adapter.optimizer.step()

    def once() -> tuple[int, Mapping[str, float]]:
        before = resident("VmRSS")
        # Forget the peak of loading.
        Path("/proc/self/clear_refs").write_text("5")
        if llama is None:
            plain()
        else:
            trainer = Trainer(PackedForward(llama), adapter, 2 * task["tokens"], lambda _: on)
            trainer.step(samples, reinforce, Step(learning_rate=1e-4))
        return task["tokens"], {"peak": resident("VmHWM") - before}

    return once


if __name__ == "__main__":
    serve(prepare(json.loads(sys.argv[1])))
