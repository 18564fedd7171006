"""A worker that samples growing work: more prompts, samples, turns, or longer prompts.

Seconds are split by kind of forward pass: `prefill` processes several tokens per row, `decode`
one; the rest is token sampling and bookkeeping. Tokens are those that the network processed.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic

import numpy as np
from torch import Tensor

from benchmarks.speed.race import serve_sizes
from benchmarks.speed.sampling import Once, open_model
from benchmarks.speed.work import WORKS
from harness.policies.base import Request, Sample, Sampling
from harness.policies.hf.admission import RowLimit
from harness.policies.hf.batching import tree_batches
from harness.policies.hf.decoder import Decoder, M
from harness.policies.hf.fast_llama.tree_packing import pack
from harness.policies.hf.policy import HFPolicy
from harness.types import Completion, Message

REPLY = 32  # tokens, but for turns
SAID = 16  # tokens a reply, where there are several
CONVERSATIONS = 16
WORDS = [
    "add",
    "the",
    "digits",
    "of",
    "each",
    "number",
    "and",
    "then",
    "write",
    "what",
    "is",
    "left",
    "on",
    "a",
    "line",
    "of",
    "its",
    "own",
]


class Counting(Generic[M]):
    """A decoder that counts the tokens it processes, and their seconds, by kind."""

    def __init__(self, decoder: Decoder[M]) -> None:
        self._decoder = decoder
        self.allows_gaps = decoder.allows_gaps
        self.clear()

    def clear(self) -> None:
        """Count from nothing."""
        self.tokens = {"prefill": 0, "decode": 0}
        self.seconds = {"prefill": 0.0, "decode": 0.0}

    def forward(self, pieces: Sequence[Sequence[int]], state: M | None = None) -> tuple[Tensor, M]:
        """See `Decoder.forward`."""
        kind = "decode" if state is not None and max(map(len, pieces)) == 1 else "prefill"
        began = time.process_time()
        found = self._decoder.forward(pieces, state)
        self.seconds[kind] += time.process_time() - began
        self.tokens[kind] += sum(map(len, pieces))
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)


def counted(policy: HFPolicy) -> Counting[Any]:
    """Make a policy's sampler count; replies then end at their limit and prompts may be long."""
    sampler: Any = policy._sampler
    sampler._decoder = counting = Counting(sampler._decoder)
    sampler._context = None
    return counting


def text(words: int, first: int) -> str:
    """So many words; texts with different `first` differ from the first word on."""
    return " ".join([str(first), *(WORDS[(first + i) % len(WORDS)] for i in range(words - 1))])


def ask(id: str, talk: tuple[Message, ...], tokens: int, seed: int) -> Request:
    """A request for so many tokens."""
    return Request(id, talk, Sampling(temperature=1.0, max_tokens=tokens), seed)


def asked(prompts: int, samples: int, words: int) -> list[Request]:
    """`samples` replies to each of `prompts` different prompts."""
    talks = [(Message("user", text(words, p)),) for p in range(prompts)]
    return [
        ask(f"{p}/{s}", talk, REPLY, p * samples + s)
        for p, talk in enumerate(talks)
        for s in range(samples)
    ]


def converse(policy: HFPolicy, turns: int) -> list[Sample]:
    """Conversations of so many turns, each answered as soon as it is heard; what an update would
    learn from.
    """
    talks: dict[str, tuple[Message, ...]] = {
        str(c): (Message("system", "Answer."), Message("user", text(SAID, c)))
        for c in range(CONVERSATIONS)
    }
    waiting = deque(ask(id, talk, SAID, int(id)) for id, talk in talks.items())
    heard = dict.fromkeys(talks, 0)
    samples = []
    for id, said in policy.generate(waiting):
        if tokens := said.tokens:
            samples.append(Sample(tokens.prompt, tokens.sampled, tokens.logprobs, 1.0))
        heard[id] += 1
        if heard[id] < turns:
            talks[id] = (*talks[id], reply(said), Message("user", text(SAID, heard[id])))
            waiting.appendleft(ask(id, talks[id], SAID, int(id) + 1000 * heard[id]))
    return samples


def taught(policy: HFPolicy, samples: Sequence[Sample]) -> int:
    """Tokens that an update from these samples processes."""
    packed = tree_batches(samples, policy.settings.micro_batch_tokens)
    return sum(len(pack(batch).ids) for batch in packed)


def seat(policy: HFPolicy, rows: int, replies: int) -> None:
    """So many completions of mixed lengths, 8 per prompt, `rows` of them at a time."""
    sampler: Any = policy._sampler
    sampler._limit = RowLimit(rows)
    wanted = asked(replies // 8, 8, 64)
    lengths = np.random.default_rng(0).integers(REPLY // 8, REPLY + 1, replies)
    list(
        policy.generate(
            deque(
                replace(r, sampling=replace(r.sampling, max_tokens=int(n)))
                for r, n in zip(wanted, lengths, strict=True)
            )
        )
    )


def reply(said: Completion) -> Message:
    """A reply as the conversation goes on from it."""
    return Message("assistant", said.text, said.tokens.sampled if said.tokens else None)


def works(policy: HFPolicy, law: str, sizes: Sequence[int]) -> dict[str, Once]:
    """The work of each size under one law."""
    counting = counted(policy)

    def once(size: int) -> tuple[int, Mapping[str, float]]:
        counting.clear()
        if law == "turns":
            samples = converse(policy, size)
            seconds = dict(counting.seconds)
            return sum(counting.tokens.values()), seconds | {"taught": taught(policy, samples)}
        if law == "seats":
            seat(policy, size, max(sizes))
        else:
            shapes = {
                "prompts": (size, 1, 64),
                "samples": (8, size, 64),
                "context": (16, 2, size),
            }
            list(policy.generate(deque(asked(*shapes[law]))))
        return sum(counting.tokens.values()), counting.seconds

    return {str(size): lambda size=size: once(size) for size in sizes}  # type: ignore[misc]


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    model = open_model(WORKS[task["model"]], task)
    model.rendering.ends = frozenset()
    serve_sizes(works(model, task["law"], task["sizes"]))
