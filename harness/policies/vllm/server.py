"""A `vllm serve` server on this or another machine: token ids over HTTP, adapters by path.

    VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora --max-lora-rank 32 \
        --logprobs-mode processed_logprobs --generation-config vllm

The server reads an adapter from the folder that this side writes it to, so both need to see it
under one path. The key comes from OPENAI_API_KEY only and appears in no message.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.errors import ModelError, unknown
from harness.policies.base import Sampling
from harness.policies.vllm.base import SampledStream, SampledTokens, TokenRequest
from harness.policies.vllm.replicas import COMMAND, Replicas
from harness.policies.vllm.url import VLLMAddress
from harness.settings.model import ModelSettings
from harness.system.secrets import redact

if TYPE_CHECKING:
    from openai.types import Completion

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# vLLM's API takes seeds of 64 bits with a sign.
_SEEDS = 2**63


class VLLMServer:
    """A server with vLLM's own extensions to the OpenAI API.

    Raises:
        ModelError: It cannot be reached, refuses the key, or is not vLLM.
        UsageError: It serves no model of that name; lists those it serves.
    """

    def __init__(
        self, address: VLLMAddress, settings: ModelSettings, probe: tuple[int, ...]
    ) -> None:
        """`probe` is a short prompt that the model knows, to find out what the server tells."""
        from openai import DefaultHttpxClient, OpenAI

        host = urlsplit(address.base_url).hostname or ""
        # The client library wants a key even where the server asks for none.
        self._key = os.environ.get("OPENAI_API_KEY", "") or "none"
        self._base, self._model = address.base_url, address.served
        self._servers = address.servers
        self._client = OpenAI(
            api_key=self._key,
            base_url=f"{address.base_url}/v1",
            timeout=settings.timeout,
            max_retries=settings.retries,
            # A proxy to the internet does not reach servers on this machine.
            http_client=DefaultHttpxClient(trust_env=host not in _LOOPBACK),
        )
        self._concurrency = settings.concurrency
        self._replicas = Replicas(self._client, address, self._reason)
        self.notes: tuple[str, ...] = ()
        self._inspect(probe)

    def _inspect(self, probe: tuple[int, ...]) -> None:
        """List the models, and sample two tokens to find out which log-probabilities it returns."""
        from openai import AuthenticationError, OpenAIError, PermissionDeniedError

        try:
            told: Any = self._client.get(f"{self._base}/version", cast_to=object)
            models = {m.id: m for m in self._client.models.list()}
        except (AuthenticationError, PermissionDeniedError):
            raise self._refused() from None
        except (OpenAIError, ValueError) as error:
            raise ModelError(
                f"The vLLM server {self._base} cannot be used ({self._reason(error)}): start it "
                f"with {COMMAND}, or correct the address."
            ) from None
        known = told.get("version", "unknown") if isinstance(told, dict) else "unknown"
        self.release = f"{known} (server)"
        if self._model not in models:
            raise unknown("model", self._model, models)
        # One model may be served under several names; an adapter names its base as `parent`.
        self._bases = {name for name, m in models.items() if not getattr(m, "parent", None)}
        if self._servers:
            self._replicas.check(self._model)
        self.context: int | None = getattr(models[self._model], "max_model_len", None)
        plain, cool = (self._probe(probe, temperature) for temperature in (1.0, 0.5))
        # Raw log-probabilities do not depend on the temperature.
        self.processed = plain != cool

    def _refused(self) -> ModelError:
        return ModelError(
            f"The vLLM server {self._base} refused the key: set the environment variable "
            "OPENAI_API_KEY to the one that it was started with."
        )

    def _probe(self, prompt: tuple[int, ...], temperature: float) -> list[float]:
        """The largest log-probabilities of the next token; refuses a server without token ids."""
        from openai import AuthenticationError, OpenAIError, PermissionDeniedError

        ask = TokenRequest("", prompt, Sampling(temperature, 1.0, 1), 0)
        try:
            choice: Any = self._ask(ask, self._model, logprobs=5).choices[0]
        except (AuthenticationError, PermissionDeniedError):
            raise self._refused() from None
        except (OpenAIError, ValueError) as error:
            raise ModelError(
                f"The vLLM server {self._base} does not answer ({self._reason(error)}): look into "
                "its log."
            ) from None
        same = getattr(choice, "prompt_token_ids", None) == list(prompt)
        if not (same and getattr(choice, "token_ids", None)):
            raise ModelError(
                f"The server {self._base} does not return the token ids it was sent and sampled "
                "(return_token_ids), so nothing could be trained on its replies: serve with a "
                f"newer vLLM, or only sample, as openai:{self._base}/v1#{self._model}."
            )
        tops = choice.logprobs.top_logprobs[0] if choice.logprobs else {}
        return sorted(tops.values())

    def generate(self, waiting: deque[TokenRequest], adapter: str = "") -> SampledStream:
        """Answer what waits, in the order of arrival; see `VLLMEngine.generate`.

        Raises:
            ModelError: A replica sampled another model than the one that was asked for.
        """
        running: dict[Future[SampledTokens], str] = {}
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="vllm")
        try:
            while waiting or running:
                while waiting and len(running) < self._concurrency:
                    ask = waiting.popleft()
                    running[pool.submit(self._answer, ask, adapter or self._model)] = ask.id
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in [f for f in running if f in done]:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, ask: TokenRequest, model: str) -> SampledTokens:
        from openai import OpenAIError

        try:
            if model == self._model:
                return _parse(self._ask(ask, model, logprobs=0))
            return _parse(self._replicas.until_there(lambda: self._ask(ask, model, logprobs=0)))
        except (OpenAIError, ValueError) as error:  # or a response that is not JSON
            return SampledTokens(error=self._reason(error))

    def _ask(self, ask: TokenRequest, model: str, logprobs: int) -> Completion:
        extra: dict[str, Any] = {
            # A text that is tokenised again here could become other ids than those sampled.
            "return_token_ids": True,
            "stop_token_ids": list(ask.stops),
            "skip_special_tokens": False,
        }
        if ask.grammar is not None:
            extra["structured_outputs"] = {"regex": ask.grammar}
        answer: Completion = self._client.completions.create(
            model=model,
            prompt=list(ask.prompt),
            max_tokens=ask.sampling.max_tokens,
            temperature=ask.sampling.temperature,
            top_p=ask.sampling.top_p,
            seed=ask.seed % _SEEDS,
            logprobs=logprobs,
            extra_body=extra,
        )
        # The client library does not check replies: any JSON object passes for a completion.
        if not getattr(answer, "choices", None):
            raise ValueError("the reply is no completion, or holds no choice")
        if answer.model != model and {answer.model, model} - self._bases:
            raise ModelError(
                f"The vLLM server {self._base} sampled '{answer.model}' where '{model}' was asked "
                "for: a replica or a balancer there takes one model for another. Mend it, and go "
                "on with harness resume."
            )
        return answer

    def load_adapter(self, folder: Path) -> str:
        """Have every replica read an adapter from a folder that it sees under the same path.

        Raises:
            ModelError: One does not take it; says how to start one that does.
        """
        self._replicas.load(folder)
        return folder.name

    def drop_adapter(self, name: str) -> None:
        """Have the replicas forget an adapter; one that they do not know is no error."""
        self._replicas.drop(name)

    def sleep(self) -> None:
        """Do nothing: a server's memory is its own."""

    def wake(self) -> None:
        """Do nothing: no memory was released."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _reason(self, error: Exception) -> str:
        """The error in one line, without the key."""
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        line = " ".join(f"{type(error).__name__}: {error}{cause}".split())
        return redact(line, (self._key,))[:300]


def _parse(answer: Completion) -> SampledTokens:
    """Parse one completion by its token ids.

    Raises:
        ValueError: It is not what was requested.
    """
    choice: Any = answer.choices[0]
    if choice.finish_reason not in ("stop", "length"):
        return SampledTokens(error=f"vLLM ended the reply with '{choice.finish_reason}'")
    ids = getattr(choice, "token_ids", None) or []
    told = choice.logprobs.token_logprobs if choice.logprobs else []
    if len(told) != len(ids) or None in told:
        raise ValueError(f"{len(ids)} token ids came with {len(told)} log-probabilities")
    return SampledTokens(tuple(ids), tuple(float(x) for x in told))
