"""A model of your own: a table of which character follows which, sampled and trained.

Replace the table with your model and keep what the methods promise. A backend that only samples
leaves out `reference`, `update`, `save` and `load`, and says `trainable=False`.
"""

import hashlib
import json
import random
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.policies import ModelSettings, PolicyBackend
from harness.policies.base import (
    BatchSize,
    CompletionStream,
    Loss,
    Request,
    Sample,
    Step,
    TokenBatch,
)
from harness.policies.reference import Reference
from harness.types import Completion, Finish, Tokens

END = 0
"""The token that ends a completion; every other token is a character's code."""
SIZE = 128


def encode(text: str) -> tuple[int, ...]:
    """Token ids; characters beyond the vocabulary become question marks."""
    return tuple(ord(c) if 0 < ord(c) < SIZE else ord("?") for c in text)


class Babble:
    """Samples each character by the one before it; an update changes the table."""

    def __init__(self, name: str, settings: ModelSettings) -> None:
        self.name, self.settings = name, settings
        self.version, self.context = 0, 2048
        self.failures: dict[str, str] = {}
        self.notes: tuple[str, ...] = ()
        self.start = torch.full((SIZE, SIZE), -8.0)  # logits [previous token, next token]
        self.start[:, [END, *encode("0123456789 abcdefghijklmnopqrstuvwxyz.")]] = 0.0
        self.table = self.start.clone().requires_grad_()
        self.optimizer = torch.optim.Adam([self.table], foreach=False)
        self.reference = Reference(self, self._start_completions, {})

    @property
    def identity(self) -> Mapping[str, str]:
        """Everything that decides the completions at version 0, for records."""
        digest = hashlib.sha256(self.start.numpy().tobytes()).hexdigest()
        return {"weights": f"sha256:{digest}", "quantisation": "none"} | {
            "rendering": "lines of role: text",
            "engine": "babble 1",
            "dtype": "float32",
        }

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits; requests may be appended between completions."""
        return self._completions(waiting, self.table.detach(), self.failures)

    def _start_completions(self, waiting: deque[Request]) -> CompletionStream:
        return self._completions(waiting, self.start, self.reference.failures)

    def _completions(
        self, waiting: deque[Request], table: Tensor, failures: dict[str, str]
    ) -> CompletionStream:
        while waiting:
            request = waiting.popleft()
            if request.sampling.top_p < 1:  # no completion, but a reason: the episode is unscored
                failures[request.id] = "top_p below 1 is not supported; set sampling.top_p=1"
                continue
            yield request.id, self._complete(request, table)

    def _complete(self, request: Request, table: Tensor) -> Completion:
        lines = [f"{m.role}: {m.content}\n" for m in request.conversation]
        prompt = encode("".join([*lines, "assistant: "]))
        limit = min(request.sampling.max_tokens, self.context - len(prompt))
        temperature, noise = request.sampling.temperature, random.Random(request.seed)
        sampled: list[int] = []
        logprobs: list[float] = []
        while len(sampled) < limit and sampled[-1:] != [END]:
            logits = table[(*prompt, *sampled)[-1]]
            scores = (logits / (temperature or 1.0)).log_softmax(-1)
            token = int(logits.argmax())
            if temperature:
                (token,) = noise.choices(range(SIZE), scores.exp().tolist())
            sampled.append(token)
            logprobs.append(float(scores[token]))
        ended = sampled[-1:] == [END]
        text = "".join(chr(i) for i in sampled if i != END)
        tokens = Tokens(prompt, tuple(sampled), tuple(logprobs))
        return Completion(text, Finish.STOP if ended else Finish.LENGTH, len(sampled), tokens)

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        """Take one gradient step and raise `version`."""
        batch = self._batch(samples, step)
        tokens = int(batch.mask.sum())
        self.optimizer.zero_grad()
        value = loss(batch, BatchSize(len(samples), tokens))
        value.backward()  # type: ignore[no-untyped-call]  # torch does not type it
        norm = torch.nn.utils.clip_grad_norm_([self.table], step.max_grad_norm)
        for group in self.optimizer.param_groups:
            group.update(lr=step.learning_rate, betas=(step.beta1, step.beta2))
        self.optimizer.step()
        self.version += 1
        gap = (batch.new.detach() - batch.old)[batch.mask > 0]
        return {"loss": float(value.detach()), "grad_norm": float(norm)} | {
            "sequences": float(len(samples)),
            "tokens": float(tokens),
            "logprob_gap": float(gap.abs().mean()),
            "ratio_max": float(gap.max().exp()),
        }

    def _batch(self, samples: Sequence[Sample], step: Step) -> TokenBatch:
        """The samples as tensors [sequence, token]; `mask` is 0 beyond a completion's end."""
        width = max(len(s.sampled) for s in samples)

        def padded(rows: Sequence[Sequence[float]]) -> Tensor:
            return torch.tensor([[*row, *[0.0] * (width - len(row))] for row in rows])

        before = padded([(s.prompt[-1], *s.sampled[:-1]) for s in samples]).long()
        after = padded([s.sampled for s in samples]).long()
        temperature = torch.tensor([s.temperature or 1.0 for s in samples])[:, None, None]

        def read(table: Tensor) -> Tensor:
            scores = (table[before] / temperature).log_softmax(-1)
            return scores.gather(-1, after[..., None])[..., 0]

        return TokenBatch(
            new=read(self.table),
            old=padded([s.logprobs for s in samples]),
            reference=read(self.start) if step.reference else None,
            advantage=torch.tensor([[s.advantage] for s in samples]),
            mask=padded([[1.0] * len(s.sampled) for s in samples]),
        )

    def save(self, folder: Path) -> None:
        """Write the weights, the optimizer and the version."""
        folder.mkdir(parents=True, exist_ok=True)
        state = self.optimizer.state.get(self.table, {})
        save_file({"table": self.table.detach(), **state}, folder / "table.safetensors")
        (folder / "policy.json").write_text(json.dumps({"version": self.version}))

    def load(self, folder: Path) -> None:
        """Read back, bit for bit, what `save` wrote."""
        tensors = load_file(folder / "table.safetensors")
        with torch.no_grad():
            self.table.copy_(tensors.pop("table"))
        self.optimizer.state.clear()
        if tensors:
            self.optimizer.state[self.table] = tensors
        self.version = int(json.loads((folder / "policy.json").read_text())["version"])


BACKEND = PolicyBackend(
    Babble, "a table of which character follows which", trainable=True, deterministic=True
)
