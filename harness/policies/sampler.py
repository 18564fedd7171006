"""Sampling: a running batch that rows leave when they end and waiting requests enter.

Noise is keyed by each request's seed, one uniform number a token, and the batch at any moment is a
function of the requests and their order, so the same requests give the same tokens. Other
neighbours change logits by rounding only (about 1e-6 in float32, 1e-2 in bfloat16).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from harness.errors import ModelError
from harness.policies.base import Replies, Request
from harness.policies.network import Network, State
from harness.policies.rendering import Ids, Rendering
from harness.types import Completion, Finish, Tokens

_HEADS = 8  # system prompts whose keys and values are kept between batches
_SHORTEST_HEAD = 8  # tokens; sharing less costs more than it saves


@dataclass(slots=True)
class Row:
    """One reply on its way; `noise` gives its uniform numbers."""

    request: Request
    prompt: Ids
    head: Ids
    limit: int
    noise: np.random.Generator
    sampled: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


def nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the likeliest tokens that together reach top_p [row, 1]; ties stay together."""
    ranked = probabilities.sort(-1, descending=True).values
    before = ranked.cumsum(-1) - ranked
    least = ranked.masked_fill(before >= top_p, 2.0).min(-1, keepdim=True).values
    return torch.where(probabilities >= least, probabilities, 0.0)


def draw(logits: Tensor, rows: Sequence[Row]) -> tuple[list[int], list[float]]:
    """One token per row from logits [row, vocabulary], and its log-probability.

    By the inverse of the cumulative distribution in float64. Temperature 0 takes the likeliest
    token; its log-probability is then that at temperature 1.
    """
    # Apple's GPUs know no float64.
    values = logits.float() if logits.device.type != "mps" else logits.float().cpu()

    def column(numbers: list[float]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64, device=values.device)[:, None]

    settings = [row.request.sampling for row in rows]
    temperature = column([s.temperature or 1.0 for s in settings])
    logprobs = torch.log_softmax(values / temperature.float(), -1)
    weights = logprobs.double().exp()
    if any(s.top_p < 1 for s in settings):
        weights = nucleus(weights, column([s.top_p for s in settings]))
    cumulative = weights.cumsum(-1)
    total = cumulative[:, -1:]
    point = column([row.noise.random() for row in rows]) * total
    # A product may round up to the total, which would point past the last possible token.
    point = torch.minimum(point, torch.nextafter(total, torch.zeros_like(total)))
    chosen = torch.searchsorted(cumulative, point, right=True)
    greedy = column([float(s.temperature == 0) for s in settings]) > 0
    chosen = torch.where(greedy, values.argmax(-1, keepdim=True), chosen)
    chosen = chosen.clamp(max=values.shape[-1] - 1)
    found = logprobs.gather(1, chosen)[:, 0].tolist()
    if not np.isfinite(found).all():
        raise ModelError(
            "The model's outputs are not finite numbers: load it with dtype float32, or continue "
            "from an earlier checkpoint with a lower learning rate."
        )
    return chosen[:, 0].tolist(), found


@dataclass(slots=True)
class _Batch:
    """Rows that run: what each has read, and the logits [row, vocabulary] of its next token."""

    rows: list[Row]
    state: State
    logits: Tensor


class Sampler:
    """Samples replies from one network, as `switched` sets its adapter for each pass."""

    def __init__(
        self,
        network: Network,
        rendering: Rendering,
        context: int | None,
        batch_rows: int,
        piece_tokens: int,
        switched: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._network = network
        self._rendering = rendering
        self._context = context
        self._batch_rows = batch_rows
        self._piece_tokens = piece_tokens
        self._switched = switched
        self._heads: OrderedDict[Ids, State] = OrderedDict()

    def forget(self) -> None:
        """Drop what was computed with weights that have changed."""
        self._heads.clear()

    def generate(self, waiting: deque[Request]) -> Replies:
        """Answer what waits, yielding replies as they end."""
        batch: _Batch | None = None
        while waiting or batch:
            running = batch.rows if batch else []
            # A few seats at a time are cheaper to fill than one by one, and copies of a prompt
            # that stand together are read once.
            if waiting and self._batch_rows - len(running) >= max(1, self._batch_rows // 4):
                entering = [self._row(r) for r in self._take(waiting, len(running))]
                yield from ((row.request.id, self._reply(row)) for row in entering if not row.limit)
                batch = self._enter(batch, [row for row in entering if row.limit])
                if batch is None:
                    continue
            assert batch is not None
            rows = batch.rows
            ended = self._draw(batch)
            batch = self._advance(batch, [i for i, end in enumerate(ended) if not end])
            for row, end in zip(rows, ended, strict=True):
                if end:
                    yield row.request.id, self._reply(row)

    def _take(self, waiting: deque[Request], running: int) -> list[Request]:
        return [waiting.popleft() for _ in range(min(len(waiting), self._batch_rows - running))]

    def _row(self, request: Request) -> Row:
        prompt = self._rendering.prompt(request.conversation)
        limit = request.sampling.max_tokens
        if self._context is not None:
            limit = min(limit, self._context - len(prompt.ids))
        head = prompt.head if self._network.gaps and prompt.head >= _SHORTEST_HEAD else 0
        noise = np.random.Generator(np.random.Philox(request.seed))
        return Row(request, prompt.ids, prompt.ids[:head], max(0, limit), noise)

    def _reply(self, row: Row) -> Completion:
        sampled = tuple(row.sampled)
        stopped = bool(sampled) and sampled[-1] in self._rendering.ends
        finish = Finish.STOP if stopped else Finish.LENGTH
        tokens = Tokens(row.prompt, sampled, tuple(row.logprobs))
        return Completion(self._rendering.text(sampled), finish, len(sampled), tokens)

    def _draw(self, batch: _Batch) -> list[bool]:
        """Sample a token for every row; True where that was its last."""
        with torch.inference_mode():
            tokens, logprobs = draw(batch.logits, batch.rows)
        for row, token, logprob in zip(batch.rows, tokens, logprobs, strict=True):
            row.sampled.append(token)
            row.logprobs.append(logprob)
        return [
            row.sampled[-1] in self._rendering.ends or len(row.sampled) >= row.limit
            for row in batch.rows
        ]

    def _advance(self, batch: _Batch, staying: list[int]) -> _Batch | None:
        if not staying:
            return None
        rows, state = [batch.rows[i] for i in staying], batch.state
        with torch.inference_mode(), self._switched():
            if len(staying) < len(batch.rows):
                state = state.select(staying, self._network.gaps)
            logits, state = self._network.read([row.sampled[-1:] for row in rows], state)
        return _Batch(rows, state, logits[:, -1])

    def _enter(self, batch: _Batch | None, rows: list[Row]) -> _Batch | None:
        """Read the prompts of `rows` and add them to the batch."""
        if not rows:
            return batch
        with torch.inference_mode(), self._switched():
            batches = [batch] if batch else []
            batches += [self._read(part) for part in self._parts(rows)]
            state = State.stack([b.state for b in batches])
            logits = torch.cat([b.logits for b in batches])
        return _Batch([row for b in batches for row in b.rows], state, logits)

    def _parts(self, rows: list[Row]) -> list[list[Row]]:
        """Rows in order, cut so that no pass reads more than the limit of padded tokens."""
        parts: list[list[Row]] = [[]]
        for row in rows:
            longest = max(len(r.prompt) for r in [*parts[-1], row])
            if parts[-1] and longest * (len(parts[-1]) + 1) > self._piece_tokens:
                parts.append([])
            parts[-1].append(row)
        return parts

    def _read(self, rows: list[Row]) -> _Batch:
        """Read each different prompt once, and each different system prompt once at all."""
        copies: dict[Ids, list[Row]] = {}
        for row in rows:
            copies.setdefault(row.prompt, []).append(row)
        firsts = [same[0] for same in copies.values()]
        state = None
        if any(row.head for row in firsts):
            state = State.stack([self._head(row.head) for row in firsts])
            state = state.repeat([1] * state.rows)
        logits, state = self._network.read([row.prompt[len(row.head) :] for row in firsts], state)
        counts = [len(same) for same in copies.values()]
        repeated = [i for i, count in enumerate(counts) for _ in range(count)]
        ordered = [row for same in copies.values() for row in same]
        return _Batch(ordered, state.repeat(counts), logits[repeated, -1])

    def _head(self, head: Ids) -> State:
        if head not in self._heads:
            self._heads[head] = self._network.read([head])[1]
            while len(self._heads) > _HEADS:
                self._heads.popitem(last=False)
        self._heads.move_to_end(head)
        return self._heads[head]
