"""The way to Tinker, or to a server that speaks its protocol: key, address, errors in one line.

The key comes from TINKER_API_KEY only, and appears in no message, log or record. The address is
the SDK's own unless TINKER_BASE_URL names another.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import override

from harness.errors import HarnessError, ModelError, UsageError, unknown
from harness.settings.model import ModelSettings
from harness.system.secrets import HIDDEN

KEY, ADDRESS = "TINKER_API_KEY", "TINKER_BASE_URL"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_FORMS = ("tml-", "eyJ")  # what the SDK takes for a key
# Said of every reply that takes longer than one poll, and of what no run depends on.
_ROUTINE = ("Retrying request", "Dropping telemetry")
_PATIENCE = 10.0  # seconds until a server that does not answer is given up, before a run
OWN_CODE = ("moonshotai/Kimi",)
"""Models whose tokenizer is a program of their own, which the SDK would run."""


def model_name(url: str) -> str:
    """The model that `tinker:ORG/NAME` names.

    Raises:
        UsageError: The URL is not of that form.
    """
    name = url.removeprefix("tinker:")
    if "/" not in name.strip("/") or name != "".join(name.split()) or "://" in name:
        raise UsageError(
            f"'{url}' names no model; write tinker:ORG/NAME, as in "
            f"tinker:deepseek-ai/DeepSeek-V3.1 (another server's address goes into {ADDRESS})."
        )
    if name.startswith(OWN_CODE):
        raise UsageError(
            f"The tokenizer of {name} is a program of its own, and no model's code is run here; "
            "choose a model with an ordinary tokenizer."
        )
    return name


class Service:
    """One session with the service: its SDK, its address, and errors without the key in them.

    Raises:
        ModelError: The SDK or the key is missing, or the address would give the key away.
    """

    def __init__(self, settings: ModelSettings) -> None:
        if find_spec("tinker") is None:
            raise ModelError(
                "Models of Tinker need its SDK: type pip install 'espl-harness[tinker]'."
            )
        import tinker
        from tinker.lib.base_url import DEFAULT_BASE_URL, resolve_base_url

        self.sdk = tinker
        self.settings = settings
        self.address = str(resolve_base_url(None))
        self.own = self.address == str(DEFAULT_BASE_URL)
        host = urlsplit(self.address).hostname or ""
        self._local = host in _LOOPBACK
        if not self._local and urlsplit(self.address).scheme != "https":
            raise ModelError(
                f"{ADDRESS} is not an https address, so the key would travel in the open; "
                "name one that is, or a server on this machine."
            )
        self._secret = self._key()
        self._log = _listen(self._secret)
        self.client: Any = None
        self.trainable = True
        self._rest: Any = None

    def _key(self) -> str:
        key = os.environ.get(KEY, "").strip()
        if not key and self._local:
            return "tml-none"  # a server on this machine asks for none, the SDK for any
        if not key:
            raise ModelError(f"Tinker needs a key: set the environment variable {KEY}.")
        if not key.startswith(_FORMS):
            raise ModelError(
                f"What {KEY} holds is no key of Tinker's, which begin with tml-; set it anew."
            )
        return key

    def open(self, model: str) -> int | None:
        """Begin, once it is known that server, key and model are there; returns the context.

        Raises:
            ModelError: The server cannot be reached, or refuses the key.
            UsageError: It has no model of that name; lists those it has.
        """
        self._reach()
        with self.asking("does not answer", _PATIENCE * 6):
            self._rest = self.sdk.RestClient(base_url=self.address, api_key=self._secret)
            answer = self._rest.get_server_capabilities().result(timeout=_PATIENCE * 6)
            self.client = self.sdk.ServiceClient(base_url=self.address, api_key=self._secret)
        served = {m.model_name: m for m in answer.supported_models if m.model_name}
        if served and model not in served:
            raise unknown("model at Tinker", model, served)
        found = served.get(model)
        self.trainable = getattr(found, "trainable", None) is not False
        context: int | None = getattr(found, "max_context_length", None)
        return context

    def delete(self, path: str) -> None:
        """Delete a kept state."""
        self._rest.delete_checkpoint_from_tinker_path(path).result(timeout=_PATIENCE * 6)

    def _reach(self) -> None:
        """One plain request first: the SDK would try for five minutes."""
        import httpx

        tries = 1 + min(self.settings.retries, 2)
        for attempt in range(tries):
            try:
                httpx.get(
                    f"{self.address}/api/v1/healthz",
                    timeout=_PATIENCE,
                    trust_env=not self._local,
                )
                return
            except httpx.HTTPError as error:
                if attempt == tries - 1:
                    raise ModelError(
                        f"Tinker cannot be reached at {self.address} ({self.reason(error)}): check "
                        f"the network, or {ADDRESS}."
                    ) from None
                time.sleep(attempt + 1)

    @contextmanager
    def asking(self, what: str, seconds: float | None = None) -> Iterator[None]:
        """Turn whatever the SDK raises into one sentence; `what` says what Tinker did not do."""
        from tinker import AuthenticationError, PermissionDeniedError

        try:
            yield
        except HarnessError:
            raise
        except (AuthenticationError, PermissionDeniedError) as error:
            raise ModelError(
                f"Tinker refused the key: set the environment variable {KEY} to one that it takes "
                f"({self.reason(error)})."
            ) from None
        except TimeoutError:
            last = f"; its SDK said: {self._log.last}" if self._log.last else ""
            within = "" if seconds is None else f" within {seconds:g} s"
            raise ModelError(
                f"Tinker {what}{within}{last}: try again later, with harness resume where a run "
                "had begun."
            ) from None
        except Exception as error:  # the SDK raises its own errors, ValueError and RuntimeError
            raise ModelError(
                f"Tinker {what} ({self.reason(error)}): when it is well again, go on with harness "
                "resume where a run had begun."
            ) from None

    def reason(self, error: BaseException) -> str:
        """The error in one line, without the key."""
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        return self.clean(f"{type(error).__name__}: {error}{cause}")

    def clean(self, text: str) -> str:
        """One line of at most 300 characters, without the key."""
        return " ".join(text.replace(self._secret, HIDDEN).split())[:300]


class _Listener(logging.Handler):
    """Passes the SDK's warnings on to standard error, in one line and without the key."""

    def __init__(self, secret: str) -> None:
        super().__init__(logging.WARNING)
        self.secrets = {secret}
        self.last = ""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line.startswith(_ROUTINE):
            return
        for secret in self.secrets:
            line = line.replace(secret, HIDDEN)
        self.last = " ".join(line.split())[:300]
        print(f"tinker: {self.last}", file=sys.stderr)


def _listen(secret: str) -> _Listener:
    """The one listener; every key there was is kept out of what it passes on."""
    logger = logging.getLogger("tinker")
    for handler in logger.handlers:
        if isinstance(handler, _Listener):
            handler.secrets.add(secret)
            return handler
    listener = _Listener(secret)
    logger.addHandler(listener)
    logger.propagate = False
    return listener
