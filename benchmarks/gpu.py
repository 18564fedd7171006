"""One round of training with a 4 B model's exact shape on one GPU: memory and speed.

    python benchmarks/gpu.py           a random model of Qwen3-4B's shape, 4,096 and 15,000 tokens
    python benchmarks/gpu.py --tiny    a model of a few channels and short texts, on any device

It needs torch, transformers, safetensors, peft and this repository; nothing is downloaded. Each
step writes a JSON file into --out and is skipped once that file is there, so that the script can be
stopped and started again; it begins no step after --minutes. Without a GPU every row says so.

A step samples or trains 4 texts of full length. Sampling reads prompts that leave 256 tokens, which
are then sampled: the rate is that at full length. Peaks are compared with the planner
(`harness.policies.memory_plan`). The share of the bandwidth limit counts one reading of all weights
for a decoding step; that of the arithmetic limit counts four operations for each weight and token
of an update: two for the forward pass and two for the gradient of its inputs.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tiny import tiny_model
from harness.policies.base import BatchSize, Request, Sample, Sampling, Step, TokenBatch
from harness.policies.hf.policy import HFPolicy
from harness.policies.memory_plan import (
    EpisodeSizes,
    MemoryWork,
    ModelSizes,
    sampling_memory,
    update_memory,
)
from harness.policies.model_files import ModelSource
from harness.settings.model import ModelSettings
from harness.types import Message

QWEN3_4B: dict[str, Any] = {
    "hidden_size": 2560,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 9728,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 40960,
}
TINY = QWEN3_4B | {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "vocab_size": 500,
}
ROWS = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """The measurement: a model's shape, the lengths of texts, and how many tokens are sampled."""

    shape: dict[str, Any]
    lengths: tuple[int, ...]
    sampled: int
    device: Literal["cpu", "cuda"]
    dtype: Literal["float32", "bfloat16"]

    @property
    def steps(self) -> list[str]:
        """The names of the steps, in order."""
        parts = [f"{what}-{n}" for n in self.lengths for what in ("sample", "update")]
        return ["limits", *parts]


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


def limits(plan: Plan) -> dict[str, float]:
    """Operations and bytes a second that the device reaches at best."""
    device, large = plan.device, plan.device == "cuda"
    size = 8192 if large else 512
    a = torch.randn(size, size, device=device).to(getattr(torch, plan.dtype))
    operations = 2 * size**3 / seconds(lambda: a @ a, device, 5)
    block = torch.zeros((2**31 if large else 2**24) // 4, device=device)
    other = torch.empty_like(block)
    copied = 2 * 4 * block.numel() / seconds(lambda: other.copy_(block), device, 5)
    return {"operations_a_second": operations, "bytes_a_second": copied}


def open_model(plan: Plan, folder: Path) -> HFPolicy:
    """A model with random weights and a byte-level tokenizer, written to a folder and opened."""
    from transformers import AutoModelForCausalLM, Qwen3Config

    tiny_model(folder)  # for its tokenizer
    config = Qwen3Config(**plan.shape, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    torch.manual_seed(0)
    with torch.device(plan.device):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, plan.dtype))
    model.save_pretrained(folder)
    del model
    if plan.device == "cuda":
        torch.cuda.empty_cache()
    settings = ModelSettings(device=plan.device, dtype=plan.dtype, batch_rows=ROWS, threads=1)
    policy = HFPolicy("random", ModelSource(folder), settings)
    policy.rendering.ends = frozenset()  # every completion has its full length
    return policy


def reinforce(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
    """The loss of REINFORCE."""
    return -(batch.new * batch.advantage * batch.mask).sum() / size.sequences


def peak_of(device: str, work: Callable[[], int]) -> tuple[int, float, int | None]:
    """Tokens, seconds and peak bytes of some work; the peak is known on GPUs only."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = waited(device)
    tokens = work()
    spent = waited(device) - began
    return tokens, spent, torch.cuda.max_memory_allocated() if device == "cuda" else None


def sample(policy: HFPolicy, plan: Plan, length: int) -> dict[str, Any]:
    """Sample the last tokens of texts of this length; reading their prompts is timed apart."""
    overhead = len(policy.rendering.prompt((Message("user", ""),)).ids)
    text = "x" * (length - plan.sampled - overhead)

    def generate(tokens: int) -> int:
        # Different first letters, so that no two prompts share a beginning.
        talks = [(Message("user", f"{i}{text[1:]}"),) for i in range(ROWS)]
        waiting = deque(
            Request(str(i), talk, Sampling(1.0, 1.0, tokens), i) for i, talk in enumerate(talks)
        )
        return sum(completion.sampled for _, completion in policy.generate(waiting))

    _, reading, _ = peak_of(plan.device, lambda: generate(1))
    tokens, whole, peak = peak_of(plan.device, lambda: generate(plan.sampled))
    sizes, work = memory_work(policy, EpisodeSizes(length - plan.sampled, plan.sampled, ROWS, True))
    decoding = max(whole - reading, 1e-9)
    return {
        "tokens_a_second": tokens / decoding,
        "prompt_tokens_a_second": ROWS * (length - plan.sampled) / reading,
        "steps_a_second": plan.sampled / decoding,
        "peak": peak,
        "planned": sampling_memory(sizes, work).total,
    }


def update(policy: HFPolicy, plan: Plan, length: int) -> dict[str, Any]:
    """Take one update on texts of this length."""
    source = torch.Generator().manual_seed(length)
    samples = []
    for i in range(ROWS):
        ids = torch.randint(3, plan.shape["vocab_size"], (length,), generator=source).tolist()
        prompt, sampled = tuple(ids[:64]), tuple(ids[64:])
        samples.append(Sample(prompt, sampled, (-5.0,) * len(sampled), 1 - 2.0 * (i % 2)))

    def step() -> int:
        policy.update(samples, reinforce, Step(learning_rate=1e-6))
        return sum(len(s.prompt) + len(s.sampled) for s in samples)

    tokens, spent, peak = peak_of(plan.device, step)
    sizes, work = memory_work(policy, EpisodeSizes(64, length - 64, ROWS, True))
    free = None if plan.device != "cuda" else torch.cuda.mem_get_info()[0]
    planned = update_memory(sizes, work, free)
    return {
        "tokens_a_second": tokens / spent,
        "peak": peak,
        "planned": planned.total if planned else None,
    }


def memory_sizes(policy: HFPolicy) -> ModelSizes:
    """The model's sizes."""
    sizes = ModelSizes.of_config(policy._model.config.to_dict())
    assert sizes is not None
    return sizes


def memory_work(policy: HFPolicy, episodes: EpisodeSizes) -> tuple[ModelSizes, MemoryWork]:
    """The sizes and the work that the planner is asked about."""
    sizes, itemsize = memory_sizes(policy), policy._model.dtype.itemsize
    return sizes, MemoryWork.of(episodes, policy.settings, itemsize, policy._train_forward.packed)


def measure(plan: Plan, out: Path, minutes: float) -> None:
    """Take the steps whose files are not there yet."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpu-") as work:
        policy = None
        for name in plan.steps:
            path = out / f"{name}.json"
            if path.exists() or time.monotonic() - began > 60 * minutes:
                continue
            kind, _, length = name.partition("-")
            if kind == "limits":
                found: dict[str, Any] = limits(plan)
            else:
                policy = policy or open_model(plan, Path(work) / "model")
                found = (sample if kind == "sample" else update)(policy, plan, int(length))
                found["weights"] = memory_sizes(policy).parameters
            found |= {"device": device_name(plan.device), "torch": torch.__version__}
            found |= {"dtype": plan.dtype, "date": time.strftime("%Y-%m-%d")}
            draft = path.with_suffix(".part")
            draft.write_text(json.dumps(found, indent=2) + "\n")
            draft.rename(path)


def device_name(device: str) -> str:
    """The name of a device."""
    return torch.cuda.get_device_name() if device == "cuda" else f"{device} ({platform.machine()})"


def rows(plan: Plan, out: Path, why: str) -> Iterator[str]:
    """A line for each step; `why` says why a step has no file."""
    files = {name: out / f"{name}.json" for name in plan.steps}
    found = {name: json.loads(p.read_text()) for name, p in files.items() if p.exists()}
    most = found.get("limits")
    for name in plan.steps:
        one = found.get(name)
        if one is None:
            yield f"{name}: not run: {why}"
        elif name == "limits":
            yield (
                f"limits of {one['device']}, {one['dtype']}: "
                f"{one['operations_a_second'] / 1e12:,.1f} T operations/s, "
                f"{one['bytes_a_second'] / 1e9:,.0f} GB/s"
            )
        else:
            yield f"{name}: {', '.join(_facts(name, one, most))}"


def _facts(name: str, one: dict[str, Any], most: dict[str, Any] | None) -> Iterator[str]:
    yield f"{one['tokens_a_second']:,.0f} tokens/s"
    if most and name.startswith("sample"):
        itemsize = 4 if one["dtype"] == "float32" else 2
        read = one["steps_a_second"] * one["weights"] * itemsize
        yield f"{read / most['bytes_a_second']:.1%} of the bandwidth limit"
    elif most:
        done = 4 * one["weights"] * one["tokens_a_second"]
        yield f"{done / most['operations_a_second']:.1%} of the arithmetic limit"
    if one["peak"] is None:
        yield f"planned {one['planned'] / 1e9:,.2f} GB, peak not measured without a GPU"
    else:
        ratio = one["planned"] / one["peak"]
        yield f"peak {one['peak'] / 1e9:,.2f} GB, planned {ratio:.2f} times that"


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is missing, and print a line for each step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args(words)
    there = torch.cuda.is_available()
    plan = Plan(QWEN3_4B, (4096, 15000), 256, "cuda", "bfloat16")
    if asked.tiny:
        plan = Plan(TINY, (128, 256), 16, "cuda", "bfloat16")
    if not there:
        plan = replace(plan, device="cpu", dtype="float32")
    if there or asked.tiny:
        asked.out.mkdir(parents=True, exist_ok=True)
        measure(plan, asked.out, asked.minutes)
    for line in rows(plan, asked.out, "out of time; start again" if there else "no GPU"):
        print(line)


if __name__ == "__main__":
    main()
