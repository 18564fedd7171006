"""Continuous batching: rows leave the batch when they end, and waiting requests enter.

Noise is keyed by each request's seed, one uniform number a token, and the batch at any moment is a
function of the requests and their order, so the same requests give the same tokens. Other rows in
the batch change logits by rounding only (about 1e-6 in float32, 1e-2 in bfloat16).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor

from harness.policies.base import CompletionStream, Request
from harness.policies.chat.rendering import Rendering
from harness.policies.chat.text_encoding import Ids
from harness.policies.hf.admission import RowLimit
from harness.policies.hf.constrained_decoding import ConstraintCompiler
from harness.policies.hf.conversation_cache import CachedConversation, ConversationCache
from harness.policies.hf.decoder import Decoder, M
from harness.policies.hf.token_sampling import SequenceState, sample_tokens, uniforms
from harness.policies.memory_errors import sampling_error
from harness.system.resource_errors import out_of_memory
from harness.types import Completion, Finish, Tokens

_MAX_SYSTEM_PREFIXES = 8  # system prompts whose KV cache is kept between batches
_MIN_SYSTEM_PREFIX = 8  # tokens; sharing a shorter prefix costs more than it saves


@dataclass(slots=True)
class _Batch(Generic[M]):
    """The running rows, their KV cache, and the logits [row, vocabulary] of their next tokens."""

    rows: list[SequenceState[M]]
    state: M
    logits: Tensor


@dataclass(frozen=True, slots=True)
class _PrefilledPrompt(Generic[M]):
    """A processed prompt, and the logits [1, vocabulary] after it."""

    prompt: Ids
    state: M
    logits: Tensor


class Sampler(Generic[M]):
    """Samples completions with one decoder."""

    def __init__(
        self,
        decoder: Decoder[M],
        rendering: Rendering,
        context: int | None,
        limit: RowLimit,
        prefill_tokens: int,
        constraints: ConstraintCompiler | None = None,
    ) -> None:
        self._decoder = decoder
        self._rendering = rendering
        self._context = context
        self._limit = limit
        self._prefill_tokens = prefill_tokens
        self._constraints = constraints
        self._system_prefixes: OrderedDict[Ids, M] = OrderedDict()
        self._conversations: ConversationCache[M] = ConversationCache(limit.rows)
        self._running: list[SequenceState[M]] = []
        # The last prompt, while copies of it wait to be admitted.
        self._last_prefilled: _PrefilledPrompt[M] | None = None

    def invalidate(self) -> None:
        """Drop what was computed with weights that have changed."""
        self._decoder.invalidate()
        self._system_prefixes.clear()
        self._conversations.clear()

    @property
    def unfinished_tokens(self) -> int:
        """Tokens sampled so far by the running rows."""
        return sum(len(row.sampled) for row in self._running)

    def drop_cache(self) -> None:
        """Free the KV cache of conversations between two turns."""
        self._conversations.clear()

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits, yielding completions as they end.

        Raises:
            OutOfMemory: Memory ran out; says for how many rows, and how long they were.
        """
        self._running = []
        try:
            yield from self._generate(waiting)
        except Exception as error:
            if not out_of_memory(error):
                raise
            lengths = [len(row.prompt) + len(row.sampled) for row in self._running]
            raise sampling_error(lengths) from error

    def _generate(self, waiting: deque[Request]) -> CompletionStream:
        batch: _Batch[M] | None = None
        self._last_prefilled = None
        self._conversations.begin_batch(waiting)
        while waiting or batch:
            if waiting:
                # Callers put later turns in front, between two completions.
                self._conversations.observe(waiting[0])
            running = batch.rows if batch else []
            # Admitting several rows at a time is cheaper than one by one, and neighbouring copies
            # of a prompt are prefilled once.
            most = self._most_rows(running, waiting) if waiting else 0
            if waiting and most - len(running) >= max(1, most // 4):
                admitted = [self._sequence_of(r) for r in self._take(waiting, running)]
                self._running = [*running, *admitted]
                # A prompt that fills the context is answered at once: no tokens, and cut off.
                yield from (
                    (row.request.id, self._completion(row)) for row in admitted if not row.limit
                )
                conversation = admitted[-1].request.conversation
                more_copies = bool(waiting) and waiting[0].conversation == conversation
                batch = self._admit(batch, [row for row in admitted if row.limit], more_copies)
                if batch is None:
                    continue
            assert batch is not None
            # Kept, because the next batch lacks the rows that ended.
            self._running = rows = batch.rows
            ended = self._sample(batch)
            # Before the decode step, which consumes the batch's KV cache.
            self._cache_conversations(batch, ended)
            batch = self._decode_step(batch, [i for i, end in enumerate(ended) if end])
            self._running = batch.rows if batch else []
            for row, end in zip(rows, ended, strict=True):
                if end:
                    yield row.request.id, self._completion(row)

    def _most_rows(self, running: Sequence[SequenceState[M]], waiting: deque[Request]) -> int:
        """The rows that may run together once the first waiting request is one of them."""
        if self._limit.kv_bytes is None:
            return self._limit.rows
        longest = max((len(row.prompt) + row.limit for row in running), default=0)
        return self._limit.admitted(max(longest, self._tokens_of(waiting[0])))

    def _tokens_of(self, request: Request) -> int:
        """Tokens of a request's prompt and of its longest completion."""
        prompt = len(self._rendering.prompt(request.conversation).ids)
        whole = prompt + request.sampling.max_tokens
        return whole if self._context is None else max(prompt, min(whole, self._context))

    def _take(self, waiting: deque[Request], running: Sequence[SequenceState[M]]) -> list[Request]:
        """Take requests from the front while rows and memory allow."""
        taken = [waiting.popleft()]
        if self._limit.kv_bytes is None:
            free = self._limit.rows - len(running) - 1
            return taken + [waiting.popleft() for _ in range(min(len(waiting), free))]
        longest = max((len(row.prompt) + row.limit for row in running), default=0)
        longest = max(longest, self._tokens_of(taken[0]))
        while waiting:
            longest = max(longest, self._tokens_of(waiting[0]))
            if len(running) + len(taken) >= self._limit.admitted(longest):
                break
            taken.append(waiting.popleft())
        return taken

    def _sequence_of(self, request: Request) -> SequenceState[M]:
        prompt = self._rendering.prompt(request.conversation)
        limit = request.sampling.max_tokens
        if self._context is not None:
            limit = min(limit, self._context - len(prompt.ids))
        # Sliding windows count columns, so there a row cannot continue another row's cache.
        head = prompt.head if self._decoder.allows_gaps and prompt.head >= _MIN_SYSTEM_PREFIX else 0
        cached = self._conversations.take(request, prompt.ids)
        constraint = None
        if self._constraints is not None and request.grammar is not None:
            constraint = self._constraints.begin(request.grammar)
        return SequenceState(
            request,
            prompt.ids,
            prompt.ids[:head],
            max(0, limit),
            uniforms(request.seed),
            cached,
            constraint,
        )

    def _completion(self, row: SequenceState[M]) -> Completion:
        sampled = tuple(row.sampled)
        stopped = bool(sampled) and sampled[-1] in self._rendering.ends
        finish = Finish.STOP if stopped else Finish.LENGTH
        tokens = Tokens(row.prompt, sampled, tuple(row.logprobs))
        return Completion(self._rendering.text(sampled), finish, len(sampled), tokens)

    def _sample(self, batch: _Batch[M]) -> list[bool]:
        """Sample a token for every row; True where it was the row's last."""
        with torch.inference_mode():
            tokens, logprobs = sample_tokens(batch.logits, batch.rows)
        for row, token, logprob in zip(batch.rows, tokens, logprobs, strict=True):
            row.sampled.append(token)
            row.logprobs.append(logprob)
            if row.constraint is not None:
                row.constraint.accept(token)
        return [
            row.sampled[-1] in self._rendering.ends or len(row.sampled) >= row.limit
            for row in batch.rows
        ]

    def _cache_conversations(self, batch: _Batch[M], ended: list[bool]) -> None:
        """Cache ended rows for their conversations' next turns.

        Their last token has not been processed, so it is not part of the cache.
        """
        if not (self._conversations.multi_turn and self._decoder.allows_gaps):
            return
        with torch.inference_mode():
            for i, row in enumerate(batch.rows):
                if ended[i]:
                    sampled = tuple(row.sampled)
                    cached = CachedConversation(
                        row.prompt + sampled[:-1], batch.state.extract_row(i)
                    )
                    text = self._rendering.text(sampled)
                    self._conversations.put(row.request.conversation, text, sampled, cached)

    def _decode_step(self, batch: _Batch[M], ended: list[int]) -> _Batch[M] | None:
        """Process each row's new token, without the rows that ended."""
        if len(ended) == len(batch.rows):
            return None
        rows, state = batch.rows, batch.state
        with torch.inference_mode():
            if ended:
                state, order = self._decoder.remove_rows(state, ended)
                rows = [rows[i] for i in order]
            logits, state = self._decoder.forward([row.sampled[-1:] for row in rows], state)
        return _Batch(rows, state, logits)

    def _admit(
        self, batch: _Batch[M] | None, rows: list[SequenceState[M]], more_copies: bool
    ) -> _Batch[M] | None:
        """Prefill the prompts of `rows` and add them to the batch.

        `more_copies` says that the next waiting requests repeat the last prompt, which is then
        kept.
        """
        if not rows:
            return batch
        copies: dict[Ids, list[SequenceState[M]]] = {}
        for row in rows:
            copies.setdefault(row.prompt, []).append(row)
        last = rows[-1].prompt if more_copies else None
        with torch.inference_mode():
            batches = [batch] if batch else []
            if self._last_prefilled is not None and self._last_prefilled.prompt in copies:
                prefilled = self._last_prefilled
                # A copy, because the batch consumes the cache of its rows.
                batches.append(
                    self._begin_completions(
                        [copies.pop(prefilled.prompt)],
                        prefilled.state.extract_row(0),
                        prefilled.logits,
                    )
                )
            if self._last_prefilled is not None and self._last_prefilled.prompt != last:
                self._last_prefilled = None
            # Prefilled apart, because padding goes to the longest: later turns have few new tokens,
            # and prompts after a shared system prompt fewer than those without.
            fresh = [same for same in copies.values() if same[0].cached is None]
            kinds = (
                [same for same in copies.values() if same[0].cached is not None],
                [same for same in fresh if same[0].system_prefix],
                [same for same in fresh if not same[0].system_prefix],
            )
            for part in (part for kind in kinds for part in self._prefill_batches(kind)):
                batches.append(self._prefill(part, last))
            state = self._decoder.stack([b.state for b in batches])
            logits = torch.cat([b.logits for b in batches])
        return _Batch([row for b in batches for row in b.rows], state, logits)

    def _prefill_batches(
        self, copies: list[list[SequenceState[M]]]
    ) -> Iterator[list[list[SequenceState[M]]]]:
        """Prompts in order, divided so that no pass has more padded tokens than the limit."""
        part: list[list[SequenceState[M]]] = []
        longest = 0
        for same in copies:
            length = len(same[0].prompt) - same[0].cached_tokens
            if part and max(longest, length) * (len(part) + 1) > self._prefill_tokens:
                yield part
                part, longest = [], 0
            part.append(same)
            longest = max(longest, length)
        if part:
            yield part

    def _prefill(self, copies: list[list[SequenceState[M]]], last: Ids | None) -> _Batch[M]:
        """Prefill each distinct prompt once, and each distinct system prompt once altogether."""
        firsts = [same[0] for same in copies]
        state = None
        if any(row.prefix_tokens for row in firsts):
            # All rows are of one kind: see `_admit`.
            cached = [row.cached.state for row in firsts if row.cached is not None]
            prefixes = {
                row.system_prefix: self._system_prefix(row.system_prefix)
                for row in firsts
                if row.cached is None
            }
            # A cached conversation continues once, so stacking may consume its cache; a system
            # prefix has to stay usable for the prompts that follow.
            if cached:
                state = self._decoder.stack(cached)
            else:
                states = [prefixes[row.system_prefix] for row in firsts]
                state = self._decoder.from_prefixes(states)
        logits, state = self._decoder.forward(
            [row.prompt[row.prefix_tokens :] for row in firsts], state
        )
        for i, row in enumerate(firsts):
            row.cached = None  # consumed by the new state
            if row.prompt == last:
                self._last_prefilled = _PrefilledPrompt(
                    last, state.extract_row(i), logits[i : i + 1]
                )
        return self._begin_completions(copies, state, logits)

    def _begin_completions(
        self, copies: list[list[SequenceState[M]]], state: M, logits: Tensor
    ) -> _Batch[M]:
        """Begin completions of prefilled prompts."""
        counts = [len(same) for same in copies]
        repeated = [i for i, count in enumerate(counts) for _ in range(count)]
        return _Batch(
            [row for same in copies for row in same], state.repeat(counts), logits[repeated]
        )

    def _system_prefix(self, head: Ids) -> M:
        if head not in self._system_prefixes:
            self._system_prefixes[head] = self._decoder.forward([head])[1]
            while len(self._system_prefixes) > _MAX_SYSTEM_PREFIXES:
                self._system_prefixes.popitem(last=False)
        self._system_prefixes.move_to_end(head)
        return self._system_prefixes[head]
