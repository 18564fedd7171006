"""Workers that sample the same prompts to the same lengths: ours, and transformers `generate`.

End tokens do not end a completion here: lengths are fixed, so that both do the same work.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

import envs
from benchmarks.speed.race import serve
from benchmarks.speed.work import WORKS, Work
from harness.policies import open_policy
from harness.policies.base import Request, Sampling
from harness.policies.hf import loading
from harness.policies.hf.fast_llama import prefix_cache
from harness.policies.hf.policy import HFPolicy
from harness.settings.model import ModelSettings
from harness.types import Message


def conversations(work: Work, system: str = "") -> list[tuple[Message, ...]]:
    """One conversation a task: the world's briefing, or `system`, and its question. Several rounds
    of tasks.
    """
    world = envs.make(work.env, "train")
    prompt = system or world.system_prompt
    briefing = (Message("system", prompt),) if prompt else ()
    return [
        (*briefing, Message("user", world.reset(seed=t)[0]))
        for t in range(work.rounds * work.tasks)
    ]


def requests(work: Work, lengths: list[int], system: str = "") -> list[Request]:
    asked = [c for c in conversations(work, system) for _ in range(work.samples)]
    return [
        Request(f"r{i}", c, Sampling(temperature=1.0, max_tokens=n), seed=i)
        for i, (c, n) in enumerate(zip(asked, lengths, strict=True))
    ]


def open_model(work: Work, task: Mapping[str, Any]) -> HFPolicy:
    settings = ModelSettings(
        device=task.get("device", "cpu"),
        dtype=task.get("dtype", "float32"),
        threads=task["threads"],
        batch_rows=task.get("batch_rows", work.batch_rows),
        constrained_decoding=task.get("grammar", False),
    )
    policy = open_policy(work.model, settings)
    assert isinstance(policy, HFPolicy)
    return policy


FORM = r"(ADD: [^\r\n]{400,500}\n){50}"  # which no reply here comes to the end of
RULE = "Look twice at every sign before you take one number from the other. "
Once = Callable[[], tuple[int, Mapping[str, float]]]


def ours(work: Work, task: Mapping[str, Any], policy: HFPolicy) -> Once:
    policy.rendering.ends = frozenset()
    asked = requests(work, work.lengths(task["mixed"]), RULE * task.get("rules", 0))
    if task.get("grammar"):
        asked = [replace(request, grammar=FORM) for request in asked]

    def once() -> tuple[int, Mapping[str, float]]:
        found = dict(policy.generate(deque(asked)))
        assert [found[r.id].sampled for r in asked] == [r.sampling.max_tokens for r in asked]
        return sum(c.sampled for c in found.values()), {}

    return once


class Lengths:
    """A stopping criterion that ends each row at its own length."""

    def __init__(self, start: int, lengths: torch.Tensor) -> None:
        self.ends = start + lengths

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        return ids.shape[1] >= self.ends


def generate(work: Work, task: Mapping[str, Any], policy: HFPolicy) -> Once:
    from transformers import StoppingCriteriaList

    model: Any = policy._model
    # The project's attention for shared heads is not transformers' own.
    model.set_attn_implementation("sdpa")
    lengths = work.lengths(task["mixed"])
    prompts = [policy.rendering.prompt(r.conversation).ids for r in requests(work, lengths)]
    model.generation_config.eos_token_id = None
    chunk = task.get("chunk", work.chunk)

    def once() -> tuple[int, Mapping[str, float]]:
        torch.manual_seed(0)
        for first in range(0, len(prompts), chunk):
            some, ends = prompts[first : first + chunk], lengths[first : first + chunk]
            width = max(map(len, some))
            ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in some])
            mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in some])
            made = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=max(ends),
                pad_token_id=0,
                stopping_criteria=StoppingCriteriaList(
                    [Lengths(width, torch.tensor(ends, device=model.device))]
                ),
            )
            assert made.shape[1] == width + max(ends)
        return sum(lengths), {}

    return once


def batched(work: Work, task: Mapping[str, Any], policy: HFPolicy) -> Once:
    """Transformers' continuous batching, with as many tokens of cache as the work can fill."""
    from transformers import GenerationConfig
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    model: Any = policy._model
    model.set_attn_implementation("sdpa")
    lengths = work.lengths(mixed=False)  # it has one limit for all
    asked = requests(work, lengths)
    prompts = [list(policy.rendering.prompt(r.conversation).ids) for r in asked]
    wanted = GenerationConfig(
        max_new_tokens=work.limit,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=-1,
        pad_token_id=0,
    )
    config = ContinuousBatchingConfig(num_blocks=256, max_batch_tokens=4096)

    def once() -> tuple[int, Mapping[str, float]]:
        made = model.generate_batch(
            prompts,
            generation_config=wanted,
            continuous_batching_config=config,
            progress_bar=False,
            warmup=False,
        )
        assert [len(x.generated_tokens) for x in made.values()] == lengths
        return sum(lengths), {}

    return once


CONTESTANTS = {"ours": ours, "generate": generate, "batched": batched}

if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    wanted = WORKS[task["model"]]
    wanted = replace(wanted, **{k: task[k] for k in ("limit", "rounds") if k in task})
    if task["who"] != "ours":  # the others have the memory that their users have
        opening: Any = loading
        opening.keep_freed = lambda: False
    if task.get("copied"):
        prefix_cache._MIN_MEAN_PREFIX = sys.maxsize
    serve(CONTESTANTS[task["who"]](wanted, task, open_model(wanted, task)))
