"""Adapters on every replica behind a server's address, before any of them is asked to sample.

`vllm serve --data-parallel-size N` is one server, which hands an adapter to all of its engines.
With `--api-server-count` above 1, or a balancer before several servers, a request to load one
reaches one of them. Those that are named (?servers=A,B) are asked each; and whichever replica says
that it has no such adapter is asked to load it, and the completion is asked for again. No replica
samples by older weights instead: a name is used once, and vLLM refuses a name it does not know.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.errors import ModelError
from harness.policies.vllm.url import VLLMAddress

if TYPE_CHECKING:
    from openai import OpenAI

T = TypeVar("T")
COMMAND = (
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve MODEL --enable-lora --max-lora-rank 32 "
    "--logprobs-mode processed_logprobs"
)
_TRIES = 32  # of one completion at replicas without its adapter, each of which loads it meanwhile
_LOOK = 10.0  # seconds that a server has to list its models
_PAUSE = 0.05  # seconds between them


class Replicas:
    """The servers behind an address, and the adapter that all of them are to have."""

    def __init__(
        self, client: OpenAI, address: VLLMAddress, reason: Callable[[Exception], str]
    ) -> None:
        self._address, self._reason = address.base_url, reason
        servers = address.servers or (address.base_url,)
        self._clients = {server: client.with_options(base_url=f"{server}/v1") for server in servers}
        # Loads that `until_there` asks for go the way of completions, to whichever replica is next.
        self._front = client
        self._loading = threading.Lock()
        self._folder: Path | None = None

    def check(self, model: str) -> None:
        """See that every server that is named answers, and serves the model.

        Raises:
            ModelError: Some do not; says which.
        """
        from openai import OpenAIError

        wrong = []
        for server, client in self._clients.items():
            try:
                # Not as long as for a completion: one that is down would take minutes.
                quick = client.with_options(timeout=_LOOK, max_retries=1)
                served = [m.id for m in quick.models.list()]
            except (OpenAIError, ValueError) as error:
                wrong.append(f"{server} does not answer ({self._reason(error)})")
                continue
            if model not in served:
                wrong.append(f"{server} does not serve {model}, but {', '.join(served)}")
        if wrong:
            raise ModelError(
                f"Of {len(self._clients)} vLLM servers behind {self._address} not all can be used: "
                f"{'; '.join(wrong)}. Start them, or leave them out of ?servers=."
            )

    def load(self, folder: Path) -> None:
        """Have every server that is known read an adapter, and see that it says so.

        Raises:
            ModelError: One does not take it; says which, and how to start one that does.
        """
        for server, client in self._clients.items():
            self._load(server, client, folder)
        self._folder = folder

    def drop(self, name: str) -> None:
        """Have every server forget an adapter; one that it does not know is no error."""
        from openai import OpenAIError

        for server, client in self._clients.items():
            try:
                client.post(
                    f"{server}/v1/unload_lora_adapter", body={"lora_name": name}, cast_to=str
                )
            except (OpenAIError, ValueError):
                continue

    def until_there(self, ask: Callable[[], T]) -> T:
        """A completion by the newest adapter; a replica without it loads it first."""
        from openai import NotFoundError

        for _ in range(_TRIES):
            try:
                return ask()
            except NotFoundError:
                if self._folder is None:
                    raise
                with self._loading:  # another replica may answer: each load reaches one of them
                    self._load(self._address, self._front, self._folder)
                time.sleep(_PAUSE)
        return ask()

    def _load(self, server: str, client: OpenAI, folder: Path) -> None:
        from openai import BadRequestError, NotFoundError, OpenAIError

        body = {"lora_name": folder.name, "lora_path": str(folder)}
        try:
            client.post(f"{server}/v1/load_lora_adapter", body=body, cast_to=str)
        except NotFoundError as error:
            closed = "lora" not in str(error).lower()  # its own "not found" names the adapter
            hint = (
                f"it has to be started with {COMMAND}"
                if closed
                else "it has to see that folder under the same path (?adapters=/shared/adapters)"
            )
            raise self._refused(server, error, hint) from None
        except (OpenAIError, ValueError) as error:
            if isinstance(error, BadRequestError) and "already" in str(error).lower():
                return  # loaded, as another request has asked for
            hint = f"it has to be started with {COMMAND}, with a rank of at least model.lora_rank"
            raise self._refused(server, error, hint) from None

    def _refused(self, server: str, error: Exception, hint: str) -> ModelError:
        reason = self._reason(error)
        return ModelError(f"The vLLM server {server} did not load an adapter ({reason}): {hint}.")
