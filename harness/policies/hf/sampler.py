"""Sampling: a running batch that rows leave when they end and waiting requests enter.

Noise is keyed by each request's seed, one uniform number a token, and the batch at any moment is a
function of the requests and their order, so the same requests give the same tokens. Other
neighbours change logits by rounding only (about 1e-6 in float32, 1e-2 in bfloat16).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor

from harness.policies.base import CompletionStream, Request
from harness.policies.chat.rendering import Ids, Rendering
from harness.policies.hf.constrained_decoding import ConstraintCompiler
from harness.policies.hf.conversation_cache import CachedConversation, ConversationCache
from harness.policies.hf.decoder import Decoder, M
from harness.policies.hf.token_sampling import SequenceState, sample_tokens, uniforms
from harness.types import Completion, Finish, Tokens

_HEADS = 8  # system prompts whose keys and values are kept between batches
_SHORTEST_HEAD = 8  # tokens; sharing less costs more than it saves


@dataclass(slots=True)
class _Batch(Generic[M]):
    """Rows that run: what each has read, and the logits [row, vocabulary] of its next token."""

    rows: list[SequenceState[M]]
    state: M
    logits: Tensor


@dataclass(frozen=True, slots=True)
class _Known(Generic[M]):
    """A prompt that has been read, and the logits [1, vocabulary] after it."""

    prompt: Ids
    state: M
    logits: Tensor


class Sampler(Generic[M]):
    """Samples replies from what one reader reads."""

    def __init__(
        self,
        reader: Decoder[M],
        rendering: Rendering,
        context: int | None,
        batch_rows: int,
        piece_tokens: int,
        forms: ConstraintCompiler | None = None,
    ) -> None:
        self._reader = reader
        self._rendering = rendering
        self._context = context
        self._batch_rows = batch_rows
        self._piece_tokens = piece_tokens
        self._forms = forms
        self._heads: OrderedDict[Ids, M] = OrderedDict()
        self._talks: ConversationCache[M] = ConversationCache(batch_rows)
        self._latest: _Known[M] | None = None  # copies of it wait for a seat

    def forget(self) -> None:
        """Drop what was computed with weights that have changed."""
        self._reader.forget()
        self._heads.clear()
        self._talks.clear()

    def rest(self) -> None:
        """Nothing will be sampled for a while: free what conversations under way have read."""
        self._talks.clear()

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits, yielding replies as they end."""
        batch: _Batch[M] | None = None
        self._latest = None
        self._talks.begin(waiting)
        while waiting or batch:
            if waiting:
                self._talks.notice(waiting[0])
            running = batch.rows if batch else []
            # A few seats at a time are cheaper to fill than one by one, and copies of a prompt
            # that stand together are read once.
            if waiting and self._batch_rows - len(running) >= max(1, self._batch_rows // 4):
                entering = [self._row(r) for r in self._take(waiting, len(running))]
                yield from ((row.request.id, self._reply(row)) for row in entering if not row.limit)
                talk = entering[-1].request.conversation
                again = bool(waiting) and waiting[0].conversation == talk
                batch = self._enter(batch, [row for row in entering if row.limit], again)
                if batch is None:
                    continue
            assert batch is not None
            rows = batch.rows
            ended = self._draw(batch)
            self._keep(batch, ended)
            batch = self._advance(batch, [i for i, end in enumerate(ended) if end])
            for row, end in zip(rows, ended, strict=True):
                if end:
                    yield row.request.id, self._reply(row)

    def _take(self, waiting: deque[Request], running: int) -> list[Request]:
        return [waiting.popleft() for _ in range(min(len(waiting), self._batch_rows - running))]

    def _row(self, request: Request) -> SequenceState[M]:
        prompt = self._rendering.prompt(request.conversation)
        limit = request.sampling.max_tokens
        if self._context is not None:
            limit = min(limit, self._context - len(prompt.ids))
        head = prompt.head if self._reader.gaps and prompt.head >= _SHORTEST_HEAD else 0
        kept = self._talks.take(request, prompt.ids)
        form = None
        if self._forms is not None and request.grammar is not None:
            form = self._forms.begin(request.grammar)
        return SequenceState(
            request,
            prompt.ids,
            prompt.ids[:head],
            max(0, limit),
            uniforms(request.seed),
            kept,
            form,
        )

    def _reply(self, row: SequenceState[M]) -> Completion:
        sampled = tuple(row.sampled)
        stopped = bool(sampled) and sampled[-1] in self._rendering.ends
        finish = Finish.STOP if stopped else Finish.LENGTH
        tokens = Tokens(row.prompt, sampled, tuple(row.logprobs))
        return Completion(self._rendering.text(sampled), finish, len(sampled), tokens)

    def _draw(self, batch: _Batch[M]) -> list[bool]:
        """Sample a token for every row; True where that was its last."""
        with torch.inference_mode():
            tokens, logprobs = sample_tokens(batch.logits, batch.rows)
        for row, token, logprob in zip(batch.rows, tokens, logprobs, strict=True):
            row.sampled.append(token)
            row.logprobs.append(logprob)
            if row.form is not None:
                row.form.said(token)
        return [
            row.sampled[-1] in self._rendering.ends or len(row.sampled) >= row.limit
            for row in batch.rows
        ]

    def _keep(self, batch: _Batch[M], ended: list[bool]) -> None:
        """Keep what ended rows have read where conversations go on; not their last token."""
        if not (self._talks.wanted and self._reader.gaps):
            return
        with torch.inference_mode():
            for i, row in enumerate(batch.rows):
                if ended[i]:
                    sampled = tuple(row.sampled)
                    kept = CachedConversation(row.prompt + sampled[:-1], batch.state.alone(i))
                    said = self._rendering.text(sampled)
                    self._talks.keep(row.request.conversation, said, sampled, kept)

    def _advance(self, batch: _Batch[M], ended: list[int]) -> _Batch[M] | None:
        """Read each row's new token, without the rows that ended."""
        if len(ended) == len(batch.rows):
            return None
        rows, state = batch.rows, batch.state
        with torch.inference_mode():
            if ended:
                state, order = self._reader.without(state, ended)
                rows = [rows[i] for i in order]
            logits, state = self._reader.read([row.sampled[-1:] for row in rows], state)
        return _Batch(rows, state, logits)

    def _enter(
        self, batch: _Batch[M] | None, rows: list[SequenceState[M]], again: bool
    ) -> _Batch[M] | None:
        """Read the prompts of `rows` and add them to the batch; `again` if the last one's copies
        wait.
        """
        if not rows:
            return batch
        copies: dict[Ids, list[SequenceState[M]]] = {}
        for row in rows:
            copies.setdefault(row.prompt, []).append(row)
        last = rows[-1].prompt if again else None
        with torch.inference_mode():
            batches = [batch] if batch else []
            if self._latest is not None and self._latest.prompt in copies:
                known = self._latest
                batches.append(self._seat([copies.pop(known.prompt)], known.state, known.logits))
            if self._latest is not None and self._latest.prompt != last:
                self._latest = None
            # Later turns read little each, and would be padded to what whole prompts are.
            # Nor do prompts that begin with a system prompt read as much as those without.
            kinds = (
                [same for same in copies.values() if same[0].kept is not None],
                [same for same in copies.values() if same[0].kept is None and same[0].head],
                [same for same in copies.values() if same[0].kept is None and not same[0].head],
            )
            for part in (part for kind in kinds for part in self._parts(kind)):
                batches.append(self._read(part, last))
            state = self._reader.stack([b.state for b in batches])
            logits = torch.cat([b.logits for b in batches])
        return _Batch([row for b in batches for row in b.rows], state, logits)

    def _parts(
        self, copies: list[list[SequenceState[M]]]
    ) -> Iterator[list[list[SequenceState[M]]]]:
        """Prompts in order, cut so that no pass reads more than the limit of padded tokens."""
        part: list[list[SequenceState[M]]] = []
        longest = 0
        for same in copies:
            length = len(same[0].prompt) - same[0].earlier
            if part and max(longest, length) * (len(part) + 1) > self._piece_tokens:
                yield part
                part, longest = [], 0
            part.append(same)
            longest = max(longest, length)
        if part:
            yield part

    def _read(self, copies: list[list[SequenceState[M]]], last: Ids | None) -> _Batch[M]:
        """Read each different prompt once, and each different system prompt once at all."""
        firsts = [same[0] for same in copies]
        state = None
        if any(row.start for row in firsts):
            # Only one kind of prompts is read at a time: see `_enter`.
            kept = [row.kept.state for row in firsts if row.kept is not None]
            heads = {row.head: self._head(row.head) for row in firsts if row.kept is None}
            follow = self._reader.follow
            state = self._reader.stack(kept) if kept else follow([heads[r.head] for r in firsts])
        logits, state = self._reader.read([row.prompt[row.start :] for row in firsts], state)
        for i, row in enumerate(firsts):
            row.kept = None  # the state has it now
            if row.prompt == last:
                self._latest = _Known(last, state.alone(i), logits[i : i + 1])
        return self._seat(copies, state, logits)

    def _seat(self, copies: list[list[SequenceState[M]]], state: M, logits: Tensor) -> _Batch[M]:
        """Replies to prompts that have been read."""
        counts = [len(same) for same in copies]
        repeated = [i for i, count in enumerate(counts) for _ in range(count)]
        return _Batch(
            [row for same in copies for row in same], state.repeat(counts), logits[repeated]
        )

    def _head(self, head: Ids) -> M:
        if head not in self._heads:
            self._heads[head] = self._reader.read([head])[1]
            while len(self._heads) > _HEADS:
                self._heads.popitem(last=False)
        self._heads.move_to_end(head)
        return self._heads[head]
