"""An engine where vLLM is not: the same questions answered by transformers and peft.

It reads adapters from the folders it is given, as vLLM does, and says what it was told to do.
"""

from collections import deque
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from harness.errors import ModelError
from harness.policies.base import BatchSize, Policy, Request, Sample, Sampling, TokenBatch
from harness.policies.hf.token_sampling import nucleus
from harness.policies.vllm.base import SampledStream, SampledTokens, TokenRequest
from harness.types import Message


def reinforce(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
    return -(batch.new * batch.advantage * batch.mask).sum() / size.sequences


def ask(id: int, sampling: Sampling | None = None) -> Request:
    system, user = Message("system", "Answer in one word."), Message("user", f"Task {id // 3}")
    sampling = sampling or Sampling(max_tokens=4 + id % 3)
    return Request(f"r{id}", (system, user), sampling, seed=id)


def play(policy: Policy, count: int = 8, sampling: Sampling | None = None) -> list[Sample]:
    """Samples to learn from, the even ones bad and the odd ones good."""
    requests = [ask(i, sampling) for i in range(count)]
    found = dict(policy.generate(deque(requests)))
    samples = []
    for i, request in enumerate(requests):
        tokens, asked = found[request.id].tokens, request.sampling
        assert tokens is not None
        samples.append(
            Sample(
                tokens.prompt,
                tokens.sampled,
                tokens.logprobs,
                1.0 if i % 2 else -0.5,
                asked.temperature,
                asked.top_p,
            )
        )
    return samples


class TorchEngine:
    release = "torch"
    notes: tuple[str, ...] = ("An engine for tests.",)

    def __init__(self, folder: Path, processed: bool = True, context: int = 512) -> None:
        self.folder, self.processed = folder, processed
        self.context: int | None = context
        self.models: dict[str, Any] = {"": self._bare()}
        self.told: list[str] = []
        self.asked: list[TokenRequest] = []
        self.broken = ""

    def _bare(self) -> Any:
        return AutoModelForCausalLM.from_pretrained(self.folder).eval()

    def generate(self, waiting: deque[TokenRequest], adapter: str = "") -> SampledStream:
        while waiting:
            ask = waiting.popleft()
            self.asked.append(ask)
            yield (
                ask.id,
                SampledTokens(error=self.broken) if self.broken else self._draw(ask, adapter),
            )

    def _draw(self, ask: TokenRequest, adapter: str) -> SampledTokens:
        noise = torch.Generator().manual_seed(ask.seed)
        ids = list(ask.prompt)
        told: list[float] = []
        sampling = ask.sampling
        while len(told) < sampling.max_tokens and (not told or ids[-1] not in ask.stops):
            with torch.no_grad():
                logits = self.models[adapter](torch.tensor([ids])).logits[0, -1].double()
            plain = (logits / sampling.temperature).softmax(-1)[None]
            cut = nucleus(plain, torch.tensor([[sampling.top_p]], dtype=torch.float64))[0]
            drawn = int(torch.multinomial(cut, 1, generator=noise))
            known = cut / cut.sum() if self.processed else logits.softmax(-1)
            ids.append(drawn)
            told.append(float(known[drawn].log()))
        return SampledTokens(tuple(ids[len(ask.prompt) :]), tuple(told))

    def load_adapter(self, folder: Path) -> str:
        self.told.append(f"load {folder.name}")
        if self.broken:
            raise ModelError(self.broken)
        assert folder.name not in self.models, "a name is used once"
        self.models[folder.name] = PeftModel.from_pretrained(self._bare(), folder).eval()
        return folder.name

    def drop_adapter(self, name: str) -> None:
        self.told.append(f"drop {name}")
        self.models[name] = None

    def sleep(self) -> None:
        self.told.append("sleep")

    def wake(self) -> None:
        self.told.append("wake")

    def close(self) -> None:
        self.told.append("close")
