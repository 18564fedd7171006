"""The way to Tinker, or to a server that speaks its protocol: key, address, errors in one line.

The key comes from TINKER_API_KEY only, and appears in no message, log or record. The address is
Tinker's own unless TINKER_BASE_URL names another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from harness.errors import HarnessError, ModelError, UsageError, unknown
from harness.policies.tinker.http import answers, fetch
from harness.policies.tinker.log import listen
from harness.policies.tinker.sdk import EXTRAS, HOSTED, check_hosted, import_sdk, rest_client, start
from harness.settings.model import ModelSettings
from harness.system.secrets import redact

KEY, ADDRESS = "TINKER_API_KEY", "TINKER_BASE_URL"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_FORMS = ("tml-", "eyJ")  # what the SDK takes for a key
_PATIENCE = 10.0  # seconds until a server that does not answer is given up, before a run
LOOK = 10.0
"""Seconds without any answer after which a server is asked for signs of life."""
OWN_CODE = ("moonshotai/Kimi",)
"""Models whose tokenizer is a program of their own, which the SDK would run."""
# What an SDK raises at answers of a release that it does not know.
_MISFITS = (AssertionError, AttributeError, KeyError, TypeError)
_STATUSES = (404, 405, 409, 415, 422)  # and a server at its requests


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


class _Failed(ModelError):
    """A request that failed; `misfit` is the reason where SDK and server may not fit."""

    def __init__(self, message: str, misfit: str) -> None:
        super().__init__(message)
        self.misfit = misfit


def _scheme_and_host(address: str) -> tuple[str, str]:
    """Scheme and host of the address that the environment variable names.

    Raises:
        ModelError: It is malformed: a bracket that is not closed, a port that is no number.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port  # read here, because it is only parsed when it is asked for
    except ValueError as error:
        raise ModelError(
            f"{ADDRESS} is '{address}', which is not an address ({error}); "
            "write it as http://127.0.0.1:8000."
        ) from error
    return parts.scheme, parts.hostname or ""


class Service:
    """One session with the service: its SDK, its address, and errors without the key in them.

    Raises:
        ModelError: The SDK or the key is missing, the SDK is not the one that the service wants,
            or the address would give the key away.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self.sdk = import_sdk()
        self.settings = settings
        self.address = os.environ.get(ADDRESS, "").strip().rstrip("/") or HOSTED
        self.own = self.address == HOSTED
        if self.own:
            check_hosted(self.sdk)
        self.who = "Tinker" if self.own else f"The server {self.address}"
        scheme, host = _scheme_and_host(self.address)
        self._local = host in _LOOPBACK
        if not self._local and scheme != "https":
            raise ModelError(
                f"{ADDRESS} is not an https address, so the key would travel in the open; "
                "name one that is, or a server on this machine (an SSH tunnel makes one of it)."
            )
        self._secret = self._key()
        self._log = listen(self._secret)
        self.client: Any = None
        self.trainable = True
        self._rest: Any = None
        self._away: float | None = None  # since when nothing answers

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
        seconds = _PATIENCE * 6
        make = self.sdk.ServiceClient
        with self.fitting():
            self.client = self.ask(
                "does not answer",
                lambda: make(base_url=self.address, api_key=self._secret),
                seconds,
            )
            self._rest = self.ask(
                "does not answer",
                lambda: rest_client(self.sdk, self.client, self.address, self._secret),
                seconds,
            )
            source = self._rest if hasattr(self.sdk, "RestClient") else self.client
            answer = self.ask("does not answer", source.get_server_capabilities, seconds)
        served = {m.model_name: m for m in answer.supported_models if m.model_name}
        if served and model not in served:
            raise unknown("model at Tinker" if self.own else "model at the server", model, served)
        found = served.get(model)
        self.trainable = getattr(found, "trainable", None) is not False
        context: int | None = getattr(found, "max_context_length", None)
        return context

    def ask(self, what: str, call: Callable[[], Any], seconds: float | None = None) -> Any:
        """The result of a call of the SDK; `what` says what the server did not do where it fails.

        Raises:
            ModelError: It failed, took too long, or nothing answers any more.
        """
        limit = self.settings.timeout if seconds is None else seconds
        return self.take(what, start(call), limit)

    def take(self, what: str, future: Future[Any], seconds: float | None = None) -> Any:
        """The result of a request that was sent; see `ask`."""
        limit = self.settings.timeout if seconds is None else seconds
        until = time.monotonic() + limit
        with self.asking(what, limit):
            while not self.await_some({future}, until):
                if time.monotonic() >= until:
                    raise TimeoutError
            return future.result()

    def await_some(self, running: set[Future[Any]], until: float) -> set[Future[Any]]:
        """Those that are done; none where nothing came within a few seconds, or until then.

        Raises:
            ModelError: Nothing has answered for `model.patience` seconds.
        """
        left = max(0.0, until - time.monotonic())
        done, _ = wait(running, min(LOOK, left), "FIRST_COMPLETED")
        if done:
            self._away = None
        # Not shortly before the limit, which ends the wait anyway.
        elif left > LOOK:
            self._look()
        return done

    def _look(self) -> None:
        """Find out whether anything answers at the address at all."""
        patience, now = self.settings.patience, time.monotonic()
        try:
            self._healthz()
        except OSError as error:
            self._away = now if self._away is None else self._away
            if now - self._away >= patience:
                raise ModelError(
                    f"{self.who} has answered nobody for {patience:g} s ({self.reason(error)}). "
                    "What was finished is kept: when it is back, go on with harness resume."
                ) from None
            return
        self._away = None

    def delete(self, path: str) -> None:
        """Delete a kept state."""
        self.ask("deletes nothing", lambda: self._rest.delete_checkpoint_from_tinker_path(path))

    def sweep(self, model_id: str) -> None:
        """Delete the older weights that a server of one's own has sampled a model by.

        SkyRL 0.4.0 keeps one adapter for each update, until its disk is full.
        """
        run = self.ask("lists nothing", lambda: self._rest.list_checkpoints(model_id))
        samplers = [c for c in run.checkpoints if c.checkpoint_type == "sampler"]
        for old in sorted(samplers, key=lambda c: str(c.time))[:-1]:
            self.delete(old.tinker_path)

    def archive(self, model_id: str, name: str) -> bytes:
        """An adapter that was saved for sampling, as the archive that the server makes of it.

        Asked without the SDK, whose way of asking SkyRL 0.4.0 refuses (POST, where it takes GET).
        """
        path = f"{self.address}/api/v1/training_runs/{model_id}/checkpoints/{name}/archive"
        seconds = self.settings.timeout
        with self.asking("gives no archive", seconds):
            return fetch(path, seconds, self._secret, direct=self._local)

    def unload(self, model_id: str) -> None:
        """Have a server of one's own free a model's place; failing costs that place only."""
        if self.own:
            return
        path, body = f"{self.address}/api/v1/unload_model", {"model_id": model_id}
        with suppress(OSError):
            fetch(path, _PATIENCE, self._secret, body, self._local)

    def _healthz(self) -> None:
        answers(f"{self.address}/api/v1/healthz", _PATIENCE, self._local)

    def _reach(self) -> None:
        """One plain request first: the SDK would try for five minutes."""
        tries = 1 + min(self.settings.retries, 2)
        for attempt in range(tries):
            try:
                self._healthz()
                return
            except (OSError, ValueError) as error:
                if attempt == tries - 1:
                    raise ModelError(
                        f"{self.who} cannot be reached ({self.reason(error)}): check the network, "
                        f"or {ADDRESS}."
                    ) from None
                time.sleep(attempt + 1)

    @contextmanager
    def asking(self, what: str, seconds: float | None = None) -> Iterator[None]:
        """Turn whatever the SDK raises into one sentence; `what` says what was not done."""
        sdk = self.sdk
        try:
            yield
        except HarnessError:
            raise
        except (sdk.AuthenticationError, sdk.PermissionDeniedError) as error:
            raise ModelError(
                f"{self.who} refused the key: set the environment variable {KEY} to one that it "
                f"takes ({self.reason(error)})."
            ) from None
        except TimeoutError:
            last = f"; its SDK said: {self._log.last}" if self._log.last else ""
            within = "" if seconds is None else f" within {seconds:g} s"
            raise ModelError(
                f"{self.who} {what}{within}{last}: try again later, with harness resume where a "
                "run had begun."
            ) from None
        except Exception as error:  # the SDK raises its own errors, ValueError and RuntimeError
            raise _Failed(
                f"{self.who} {what} ({self.reason(error)}): when it is well again, go on with "
                "harness resume where a run had begun.",
                self.reason(error) if self._misfit(error) else "",
            ) from None

    @contextmanager
    def fitting(self) -> Iterator[None]:
        """Say so where SDK and server are of releases that do not understand each other."""
        try:
            yield
        except _Failed as error:
            if not error.misfit:
                raise
            raise ModelError(
                f"The installed SDK, tinker {self.sdk.__version__}, does not fit the server at "
                f"{self.address} ({error.misfit}): {EXTRAS}."
            ) from None

    def _misfit(self, error: Exception) -> bool:
        status = getattr(error, "status_code", None)
        validation = isinstance(error, self.sdk.APIResponseValidationError)
        return validation or isinstance(error, _MISFITS) or status in _STATUSES

    def reason(self, error: BaseException) -> str:
        """The error in one line, without the key."""
        said = f"{type(error).__name__}: {error}"
        cause = str(error.__cause__ or "")
        # SDKs often put the cause into the error's own text already.
        return self.clean(said if cause in said else f"{said} ({cause})")

    def clean(self, text: str) -> str:
        """One line of at most 300 characters, without the key."""
        return " ".join(redact(text, (self._secret,)).split())[:300]
