"""Sampling at a hosted trainer: tokens in, tokens and log-probabilities out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from harness.errors import ModelError, NotFinite
from harness.policies.base import CompletionStream, Request, Sample
from harness.policies.model_limits import ModelLimits, foreign_tokens
from harness.policies.tinker.sdk import get_future
from harness.policies.tinker.service import Service
from harness.types import Completion, Finish, Tokens

if TYPE_CHECKING:
    from harness.policies.chat.rendering import Rendering
    from harness.settings.model import Thinking

SEEDS = 2**31  # the service keeps seeds in 32 bits
_PROBE = 60.0  # seconds that a server has for one token


@dataclass(frozen=True, slots=True)
class _Sent:
    """A request under way: its prompt's ids, and when it is given up."""

    request: Request
    prompt: tuple[int, ...]
    until: float
    at: float = field(default_factory=time.monotonic)


class TinkerSampler:
    """Samples from one version of the weights."""

    def __init__(
        self, service: Service, client: Any, rendering: Rendering, limits: ModelLimits
    ) -> None:
        self.client = client
        self.failures: dict[str, str] = {}
        self._service = service
        self._rendering = rendering
        self._limits = limits
        self._answered = float("-inf")  # when the last reply came

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits; at most `concurrency` requests run at once.

        Raises:
            ModelError: The server answers no request any more.
        """
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
        done = self._service.await_some(set(running), first)
        for future in [f for f in running if f in done]:
            sent = running.pop(future)
            yield from self._settled(sent, future)
        for future in [f for f, sent in running.items() if sent.until <= time.monotonic()]:
            sent = running.pop(future)
            future.cancel()
            seconds = self._service.settings.timeout
            self._fail(sent, f"Timeout: no reply within {seconds:g} s")

    def _settled(self, sent: _Sent, future: Future[Any]) -> CompletionStream:
        error = future.exception()
        if error is not None:
            self._fail(sent, self._service.reason(error))
            return
        self._answered = time.monotonic()
        (sequence,) = future.result().sequences
        tokens, logprobs = tuple(sequence.tokens), sequence.logprobs
        if logprobs is None or len(logprobs) != len(tokens):
            raise ModelError(
                "The server's replies carry no log-probabilities, so nothing can be learnt from "
                "them: use Tinker, or a server that sends them."
            )
        if foreign := foreign_tokens(tokens, self._limits.vocabulary):
            self.failures[sent.request.id] = foreign
            return
        if not all(map(isfinite, logprobs)):
            raise ModelError(
                f"{self._service.who} sampled with log-probabilities that are not finite numbers, "
                "so the weights that sample there are broken: go on from an earlier checkpoint "
                "with a lower learning rate, or look into the server's log."
            )
        self.failures.pop(sent.request.id, None)
        finish = Finish.LENGTH if sequence.stop_reason == "length" else Finish.STOP
        said = Tokens(sent.prompt, tokens, tuple(map(float, logprobs)))
        text = self._rendering.text(tokens)
        yield sent.request.id, Completion(text, finish, len(tokens), said)

    def _fail(self, sent: _Sent, reason: str) -> None:
        """Note a request that failed for good, where the server still answers others.

        A server that was started again, or has forgotten the session, refuses every request: that
        must stop the run, or its episodes would be spent unscored.
        """
        if self._answered < sent.at:
            self.probe(sent.prompt[-1], reason)
        self.failures[sent.request.id] = reason

    def probe(self, token: int, reason: str = "") -> None:
        """Sample one token after one token.

        Raises:
            ModelError: The server does not answer; `reason` says what it said before.
            NotFinite: It answers with a log-probability that is none.
        """
        types, seconds = self._service.sdk.types, min(_PROBE, self._service.settings.timeout)
        options = types.SamplingParams(max_tokens=1, seed=0, temperature=1.0)
        what = f"answers no request any more ({reason})" if reason else "samples nothing"
        told = self._service.ask(
            what,
            lambda: self.client.sample(
                prompt=types.ModelInput.from_ints([token]),
                num_samples=1,
                sampling_params=options,
            ).result(),
            seconds,
        )
        self._answered = time.monotonic()
        found = [x for sequence in told.sequences for x in sequence.logprobs or ()]
        if not all(map(isfinite, found)):
            raise NotFinite(f"a log-probability that {self._service.who} sampled with")

    def logprobs(self, samples: Sequence[Sample]) -> list[list[float]]:
        """Log-probabilities [T] of each sample's reply by these weights, at temperature 1.

        Raises:
            ModelError: The server does not tell them all.
        """
        types, wanted, found = self._service.sdk.types, list(samples), []
        step = self._service.settings.concurrency
        # At most `concurrency` at once, as with replies.
        for begin in range(0, len(wanted), step):
            asked = [
                self.client.compute_logprobs(types.ModelInput.from_ints([*s.prompt, *s.sampled]))
                for s in wanted[begin : begin + step]
            ]
            for sample, pending in zip(wanted[begin : begin + step], asked, strict=True):
                told = self._service.take("gives no log-probabilities", get_future(pending))
                # The prompt's come first, and its first token has none.
                kept = [x for x in list(told)[-len(sample.sampled) :] if x is not None]
                if len(kept) != len(sample.sampled):
                    raise ModelError(
                        f"{self._service.who} told {len(kept)} of {len(sample.sampled)} "
                        "log-probabilities of the reference, so there can be no KL term: write "
                        "--set method.kl=0."
                    )
                found.append([float(x) for x in kept])
        return found

    def _limit(self, request: Request, ids: tuple[int, ...]) -> int:
        limit = request.sampling.max_tokens
        context = self._limits.context
        return limit if context is None else min(limit, context - len(ids))

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
        return get_future(pending)


def read_rendering(model: str, client: Any, thinking: Thinking) -> tuple[Rendering, str]:
    """The rendering of the tokenizer that the SDK names for a model, and where that came from."""
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
    return Rendering(tokenizer, generation, thinking), str(tokenizer.name_or_path)
