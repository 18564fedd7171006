"""Any OpenAI-compatible endpoint as a policy that samples: `openai:http://host/v1#model`.

The server renders prompts and decodes; this side retries, limits concurrency and counts tokens.
Completions come in the order in which they arrive. A request that fails for good yields nothing;
its reason is recorded in `failures` under its id. A server that answers no request stops the run
(see `retry`).

The key comes from OPENAI_API_KEY only and appears in no message.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from harness.errors import HarnessError, ModelError, unknown
from harness.policies.base import CompletionStream, Request
from harness.policies.capabilities import TIMED_OUT
from harness.policies.chat.thinking import template_options, without_unmarked_thought
from harness.policies.openai.address import FORM, EndpointAddress, parse_address
from harness.policies.openai.pace import ServerPace, reading, watch_reads
from harness.policies.openai.parameters import (
    LIMITS,
    EndpointParameters,
    least_limit,
    limit_spent,
    overflows,
    refusal,
    room_left,
)
from harness.policies.openai.request_pool import RequestPool
from harness.policies.openai.response import UNCOUNTED, MalformedResponse, printable
from harness.policies.openai.retry import RetryPolicy, delay_of, transient
from harness.policies.openai.stream import ResponseReader, UncountedStream, read_all
from harness.policies.openai.tools import request_options, require_no_tools
from harness.settings.model import ModelSettings
from harness.system.secrets import redact
from harness.types import Completion, Finish

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_HELLO = [{"role": "user", "content": "Hello"}]
_MOST_PROBED = 4096  # tokens that a server may want a limit to have
_SEEDS = 2**31  # some servers keep seeds in 32 bits
_MAX_FAILURES = 10_000  # failures; those of days are in the logs


def _key(address: EndpointAddress) -> str:
    key = os.environ.get("OPENAI_API_KEY", "")
    if key or address.host in _LOOPBACK:
        # The client library wants a key even where the server asks for none.
        return key or "none"
    raise ModelError(
        f"The endpoint {address.base_url} needs a key: set the environment variable OPENAI_API_KEY."
    )


class EndpointPolicy:
    """A served model. `failures` maps ids of requests that failed for good to the reason."""

    version = 0
    context: int | None = None

    def __init__(self, name: str, address: EndpointAddress, settings: ModelSettings) -> None:
        from openai import DefaultHttpxClient, OpenAI

        self.name = name
        self.failures: dict[str, str] = {}
        own = address.host.endswith("openai.com")  # whose newer models refuse the usual name
        self._parameters = EndpointParameters(
            "max_completion_tokens" if own else "max_tokens", address.omit
        )
        self._probe_tokens = 1
        self._address = address
        self._concurrency = settings.concurrency
        self._secret = _key(address)
        self._settings = settings
        self._pace = ServerPace(settings.timeout)
        self._readers: set[ResponseReader] = set()
        # A proxy for the world outside knows nothing of this machine's own servers.
        http_client = DefaultHttpxClient(trust_env=address.host not in _LOOPBACK)
        watch_reads(http_client)
        self._client = OpenAI(
            api_key=self._secret,
            base_url=address.base_url,
            timeout=settings.timeout,
            max_retries=0,  # `Patience` knows of other requests
            http_client=http_client,
        )
        weakref.finalize(self, self._client.close)

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on sampling; one more for each parameter that the server turned out to refuse."""
        return (
            "The endpoint's own chat template and decoder are used, and equal seeds need not give "
            "equal replies.",
            *self._parameters.notes,
        )

    @property
    def takes_tools(self) -> bool:
        """True unless tools should be told as text."""
        return self._settings.tools != "text"

    @property
    def unfinished_tokens(self) -> int:
        """Tokens of completions that are being streamed; an event is counted as one."""
        return sum(reader.growth for reader in self._readers.copy())

    @property
    def identity(self) -> Mapping[str, str]:
        """Everything that decides this model's completions, as far as a client can know."""
        return {
            "weights": f"unverified:{self._address.model}",
            "quantisation": "unknown",
            "rendering": "server",
            "engine": "endpoint",
            "dtype": "unknown",
        }

    def check(self) -> None:
        """Ask for one token, so that a wrong address, key or model is known before anything runs.

        Raises:
            ModelError: The endpoint cannot be reached, refuses, or counts no tokens.
            UsageError: It serves no model of that name; lists those it serves.
        """
        from openai import (
            APIConnectionError,
            AuthenticationError,
            NotFoundError,
            OpenAIError,
            PermissionDeniedError,
        )

        base = self._address.base_url
        try:
            self._retry_policy().call(self._probe, 0, wait_out_outages=False)
        except NotFoundError as error:
            raise self._not_found(error) from None
        except (AuthenticationError, PermissionDeniedError) as error:
            raise ModelError(
                f"The endpoint {base} refused the key: set the environment variable "
                f"OPENAI_API_KEY to one that it takes ({self._reason(error)})."
            ) from None
        except APIConnectionError as error:
            raise ModelError(
                f"The endpoint {base} cannot be reached ({self._reason(error)}): start the "
                f"server, or correct the address ({FORM})."
            ) from None
        except (OpenAIError, ValueError) as error:
            raise ModelError(
                f"The endpoint {base} does not answer ({self._reason(error)}): look into the "
                "server's log."
            ) from None

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits, in the order of arrival; `failures` has what was not answered.

        Raises:
            ModelError: The server has answered no request for `model.patience` seconds.
        """
        retry = self._retry_policy()

        def answer(request: Request) -> Completion:
            return retry.call(lambda: self._answer(request), request.seed)

        with RequestPool(self._concurrency, answer, retry.abandon) as pool:
            while waiting or pool.busy:
                while waiting and pool.busy < self._concurrency:
                    pool.submit(waiting.popleft())
                yield from self._record(*pool.next_result())

    def _retry_policy(self) -> RetryPolicy:
        settings = self._settings
        return RetryPolicy(settings.retries, settings.patience, transient, delay_of, self._probe)

    def _record(self, request: Request, result: Completion | Exception) -> CompletionStream:
        from openai import APITimeoutError, OpenAIError

        if isinstance(result, Completion):
            self.failures.pop(request.id, None)
            yield request.id, result
        elif isinstance(result, (OpenAIError, ValueError)):
            while len(self.failures) >= _MAX_FAILURES:
                # The oldest first: a dict keeps the order of insertion.
                del self.failures[next(iter(self.failures))]
            late = TIMED_OUT if isinstance(result, APITimeoutError) else ""
            self.failures[request.id] = late + self._reason(result)
        elif isinstance(result, ModelError):
            raise ModelError(redact(str(result), (self._secret,)))
        else:
            raise result

    def _answer(self, request: Request) -> Completion:
        sampling = request.sampling
        options: dict[str, Any] = {
            **request_options(request.conversation),
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed % _SEEDS,
        }
        if self._address.grammar and request.grammar is not None:
            options["extra_body"] = {"structured_outputs": {"regex": request.grammar}}
        return self._adapt(options)

    def _probe(self) -> Completion:
        """The smallest request that the server takes: of one token, or as few as it allows."""
        while True:
            tokens = self._probe_tokens
            try:
                return self._adapt({"messages": _HELLO, "max_tokens": tokens})
            except Exception as error:
                least = least_limit(refusal(error))
                if not tokens < least <= _MOST_PROBED:
                    raise
                # Larger every time, so the loop ends.
                self._probe_tokens = least

    def _adapt(self, options: dict[str, Any]) -> Completion:
        """Ask, heeding what the server refuses. A full context or a spent limit is an answer.

        As with other policies, a completion with no room left is cut off before its first token.
        """
        while True:
            sent = self._parameters.adapted(options)
            try:
                return without_unmarked_thought(self._ask(**sent), self._settings.thinking)
            except UncountedStream:
                # One that streams unasked would do so again, for ever.
                if "stream" not in sent:
                    raise ModelError(UNCOUNTED) from None
                self._parameters.no_stream()
            except Exception as error:
                words = refusal(error)
                # Once a stream has begun, a server has no status left to refuse with.
                if isinstance(error, MalformedResponse) and overflows(str(error)):
                    words = str(error)
                if not words:
                    raise
                if limit_spent(words):
                    # The tokens were sampled and are paid for, though none became text.
                    return Completion("", Finish.LENGTH, options["max_tokens"])
                if overflows(words):
                    room = room_left(words)
                    # No room, or no smaller limit to try: asking again would be refused again.
                    if not 0 < room < options["max_tokens"]:
                        return Completion("", Finish.LENGTH, 0)
                    options = {**options, "max_tokens": room}
                elif not self._parameters.learn(words, sent):
                    require_no_tools(words, sent)
                    raise

    def _ask(self, **options: Any) -> Completion:
        """One attempt, given up when the server's pace leaves it no more time."""
        tokens = next(options[name] for name in LIMITS if name in options)
        clock, reader = self._pace.send(tokens), ResponseReader(tokens, "tools" in options)
        create = self._client.chat.completions.with_streaming_response.create
        options["extra_body"] = template_options(self._settings.thinking) | options.get(
            "extra_body", {}
        )
        with (
            reading(clock),
            create(model=self._address.model, **options) as response,
            self._counted(reader),
        ):
            read_all(response, reader, clock)
            completion = reader.completion()
            if reader.streamed:
                clock.ended()
            else:
                clock.arrived_whole(completion.sampled)
            return completion

    @contextmanager
    def _counted(self, reader: ResponseReader) -> Iterator[None]:
        """Let `unfinished_tokens` count what this reader has read."""
        self._readers.add(reader)
        try:
            yield
        finally:
            self._readers.discard(reader)

    def _not_found(self, error: Exception) -> HarnessError:
        from openai import OpenAIError

        try:
            return unknown("model", self._address.model, [m.id for m in self._client.models.list()])
        except OpenAIError:
            return ModelError(
                f"The endpoint {self._address.base_url} has no chat completions "
                f"({self._reason(error)}): the address often ends in /v1 ({FORM})."
            )

    def _reason(self, error: Exception) -> str:
        """The error in one line, without the key."""
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        line = printable(f"{type(error).__name__}: {error}{cause}")
        return redact(line, (self._secret,))[:300]


def open_endpoint(url: str, settings: ModelSettings) -> EndpointPolicy:
    """The policy behind `openai:…`, after checking that it answers."""
    policy = EndpointPolicy(url, parse_address(url), settings)
    policy.check()
    return policy
