"""Sampling at a hosted trainer: tokens in, tokens and log-probabilities out."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError
from harness.policies.base import CompletionStream, Request
from harness.policies.tinker.service import Service
from harness.types import Completion, Finish, Tokens

if TYPE_CHECKING:
    from harness.policies.chat.rendering import Rendering

SEEDS = 2**31  # the service keeps seeds in 32 bits


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request under way: its prompt's ids, and when it is given up."""

    request: Request
    prompt: tuple[int, ...]
    until: float


class TinkerSampler:
    """Samples from one version of the weights."""

    def __init__(
        self, service: Service, client: Any, rendering: Rendering, context: int | None
    ) -> None:
        self.client = client
        self.failures: dict[str, str] = {}
        self._service = service
        self._rendering = rendering
        self.context = context

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits; at most `concurrency` requests run at once."""
        settings = self._service.settings
        running: dict[Future[Any], _Sent] = {}
        try:
            while waiting or running:
                while waiting and len(running) < settings.concurrency:
                    request = waiting.popleft()
                    ids = self._rendering.prompt(request.conversation).ids
                    limit = self._limit(request, ids)
                    if limit < 1:
                        yield request.id, Completion("", Finish.LENGTH, 0, Tokens(ids, (), ()))
                        continue
                    sent = _Sent(request, ids, time.monotonic() + settings.timeout)
                    running[self._send(sent, limit)] = sent
                yield from self._settle(running)
        finally:
            for future in running:
                future.cancel()

    def _settle(self, running: dict[Future[Any], _Sent]) -> CompletionStream:
        """Wait for the next replies; those that take too long are given up."""
        if not running:
            return
        first = min(sent.until for sent in running.values())
        done, _ = wait(running, max(0.0, first - time.monotonic()), FIRST_COMPLETED)
        for future in [f for f in running if f in done]:
            sent = running.pop(future)
            yield from self._settled(sent, future)
        for future in [f for f, sent in running.items() if sent.until <= time.monotonic()]:
            sent = running.pop(future)
            future.cancel()
            seconds = self._service.settings.timeout
            self.failures[sent.request.id] = f"Timeout: no reply within {seconds:g} s"

    def _settled(self, sent: _Sent, future: Future[Any]) -> CompletionStream:
        error = future.exception()
        if error is not None:
            self.failures[sent.request.id] = self._service.reason(error)
            return
        (sequence,) = future.result().sequences
        tokens, logprobs = tuple(sequence.tokens), sequence.logprobs
        if logprobs is None or len(logprobs) != len(tokens):
            raise ModelError(
                "The server's replies carry no log-probabilities, so nothing can be learnt from "
                "them: use Tinker, or a server that sends them."
            )
        self.failures.pop(sent.request.id, None)
        finish = Finish.LENGTH if sequence.stop_reason == "length" else Finish.STOP
        said = Tokens(sent.prompt, tokens, tuple(map(float, logprobs)))
        text = self._rendering.text(tokens)
        yield sent.request.id, Completion(text, finish, len(tokens), said)

    def _limit(self, request: Request, ids: tuple[int, ...]) -> int:
        limit = request.sampling.max_tokens
        return limit if self.context is None else min(limit, self.context - len(ids))

    def _send(self, sent: _Sent, limit: int) -> Future[Any]:
        types, sampling = self._service.sdk.types, sent.request.sampling
        options = types.SamplingParams(
            max_tokens=limit,
            seed=sent.request.seed % SEEDS,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop=sorted(self._rendering.ends) or None,
        )
        prompt = types.ModelInput.from_ints(list(sent.prompt))
        pending = self.client.sample(prompt=prompt, num_samples=1, sampling_params=options)
        future: Future[Any] = pending.future()
        return future


def read_rendering(model: str, client: Any) -> Rendering:
    """The rendering of the tokenizer that the SDK names for a model."""
    from transformers import GenerationConfig

    from harness.policies.chat.rendering import Rendering

    try:
        tokenizer = client.get_tokenizer()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The tokenizer of {model} cannot be loaded ({type(error).__name__}: {reason}): it "
            "comes from the Hugging Face Hub; check the network, or put it into the Hub's cache."
        ) from None
    generation = None
    with suppress(OSError, ValueError):
        generation = GenerationConfig.from_pretrained(tokenizer.name_or_path)
    return Rendering(tokenizer, generation)
