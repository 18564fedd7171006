"""What the harness uses of Tinker's SDK, in the shapes of its releases 0.25 and 0.38.

For machines without the SDK: a module to put in its place, which talks JSON to the stand-in. What
0.25 answers at once, 0.38 promises; 0.25 makes a model and loads a state into it, 0.38 has the
server make it; 0.38 wants ids of samples. Where the SDK is installed, the same tests take it.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import Future
from importlib.machinery import ModuleSpec
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np

Body = dict[str, Any]
_RETRIED = (408, 429, 500, 502, 503)


class APIError(Exception):
    """The SDK's errors have a common base."""


class APIStatusError(APIError):
    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(f"Error code: {status} - {detail}")
        self.status_code = status


class AuthenticationError(APIStatusError):
    """401."""


class PermissionDeniedError(APIStatusError):
    """403."""


class APIResponseValidationError(APIError):
    """An answer of another form."""


class RequestFailedError(APIError):
    """A future that failed."""


_ERRORS = {401: AuthenticationError, 403: PermissionDeniedError}


class Promise:
    """What 0.38 returns for everything, and 0.25 for training."""

    def __init__(self, work: Any) -> None:
        self._future: Future[Any] = Future()
        self._future.set_running_or_notify_cancel()  # so that nobody cancels it half-way
        threading.Thread(target=self._run, args=(work,), daemon=True).start()

    def _run(self, work: Any) -> None:
        try:
            self._future.set_result(work())
        except BaseException as error:
            self._future.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        return self._future.result(timeout)

    def future(self) -> Future[Any]:
        return self._future


class Wire:
    """Requests to the stand-in, tried again as the SDK does."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self.url, self.headers = base_url, {"X-API-Key": api_key, "X-Stub": "1"}
        self.opener = build_opener(ProxyHandler({}))

    def call(self, verb: str, path: str, body: Body | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = Request(f"{self.url}/api/v1/{path}", data, self.headers, method=verb)
        for attempt in range(100):
            try:
                with self.opener.open(asked, timeout=60) as answer:
                    return json.loads(answer.read() or b"{}")
            except HTTPError as error:
                if error.code not in _RETRIED or attempt == 99:
                    kind = _ERRORS.get(error.code, APIStatusError)
                    raise kind(error.code, error.read().decode()) from None
                time.sleep(0.05)
            except OSError:
                if attempt == 99:
                    raise
                time.sleep(0.2)
        raise AssertionError("the last attempt returns or raises")

    def future(self, path: str, body: Body) -> Body:
        asked = self.call("POST", path, body)
        while True:
            told = self.call("POST", "retrieve_future", {"request_id": asked["request_id"]})
            if told.get("type") == "try_again":
                continue
            if "error" in told:
                raise RequestFailedError(told["error"])
            return {**told, "asked": asked}


class _Client:
    def __init__(self, wire: Wire, late: bool) -> None:
        self._wire, self._late = wire, late

    def _made(self, work: Any) -> Any:
        return Promise(work) if self._late else work()


class RestClient(_Client):
    def __init__(self, base_url: str, api_key: str, late: bool = True) -> None:
        super().__init__(Wire(base_url, api_key), late)

    def get_server_capabilities(self) -> Any:
        def work() -> Any:
            told = self._wire.call("GET", "get_server_capabilities")["supported_models"]
            whole = {"max_context_length": None}
            return SimpleNamespace(supported_models=[SimpleNamespace(**whole | m) for m in told])

        return self._made(work)

    def delete_checkpoint_from_tinker_path(self, path: str) -> Any:
        run, _, rest = path.removeprefix("tinker://").partition("/")
        where = f"training_runs/{run}/checkpoints/{rest}"
        return Promise(lambda: self._wire.call("DELETE", where))

    def list_checkpoints(self, run: str) -> Any:
        where = f"training_runs/{run}/checkpoints"
        return Promise(lambda: SimpleNamespace(**self._wire.call("GET", where)))


class SamplingClient(_Client):
    def __init__(self, wire: Wire, late: bool, session: str) -> None:
        super().__init__(wire, late)
        self._session, self._numbers = session, count()

    def get_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        told = self._wire.call("GET", f"samplers/{self._session}")
        return AutoTokenizer.from_pretrained(told["base_model"])

    def _asked(self, prompt: list[int], params: Body, **more: Any) -> Body:
        return self._wire.future(
            "asample",
            {
                "sampling_session_id": self._session,
                "seq_id": next(self._numbers),
                "prompt": {"chunks": [{"tokens": prompt}]},
                "sampling_params": params,
                **more,
            },
        )

    def sample(self, prompt: list[int], num_samples: int, sampling_params: Body) -> Any:
        def work() -> Any:
            told = self._asked(prompt, sampling_params)
            if self._late:
                ids = told["asked"].get("sample_sequence_ids")
                assert ids is not None, "asample promises always carry sample_sequence_ids"
            reason = "stop" if told["stop"] else "length"
            one = SimpleNamespace(
                tokens=told["tokens"], logprobs=told["logprobs"], stop_reason=reason
            )
            return SimpleNamespace(sequences=[one])

        pending = Promise(work)
        return pending if self._late else pending.future()

    def compute_logprobs(self, prompt: list[int]) -> Any:
        params = {"max_tokens": 1, "temperature": 1.0, "top_p": 1.0}
        told = Promise(lambda: self._asked(prompt, params, prompt_logprobs=True)["prompt_logprobs"])
        return told if self._late else told.future()


class TrainingClient(_Client):
    def __init__(self, wire: Wire, late: bool, model: str, first: int = 1) -> None:
        super().__init__(wire, late)
        self.model_id, self._numbers = model, count(first)

    def _trained(self, path: str, /, **body: Any) -> Promise:
        whole = {"model_id": self.model_id, "seq_id": next(self._numbers), **body}
        return Promise(lambda: self._wire.future(path, whole))

    def forward_backward(self, data: list[Any], name: str, config: Body | None = None) -> Any:
        asked = self._trained("forward_backward", loss_fn=name, config=config or {}, data=data)

        def work() -> Any:
            told = asked.result()
            names = [n for n in ("logprobs", "elementwise_loss") if n in told]
            rows = zip(*(told[n] for n in names), strict=True)
            outputs = [
                {n: SimpleNamespace(data=x) for n, x in zip(names, row, strict=True)}
                for row in rows
            ]
            return SimpleNamespace(loss_fn_outputs=outputs, metrics=told["metrics"])

        return Promise(work)

    def optim_step(self, adam: Body) -> Any:
        asked = self._trained("optim_step", adam_params=adam)
        return Promise(lambda: SimpleNamespace(metrics=asked.result()["metrics"]))

    def save_state(self, name: str) -> Any:
        asked = self._trained("save_weights", path=name)
        return Promise(lambda: SimpleNamespace(path=asked.result()["path"]))

    def save_weights_for_sampler(self, name: str) -> Any:
        return self._trained("save_weights_for_sampler", path=name)

    def save_weights_and_get_sampling_client(self) -> Any:
        asked = self._trained("save_weights_for_sampler")
        return self._made(
            lambda: SamplingClient(self._wire, self._late, asked.result()["sampling_session_id"])
        )


class ServiceClient(_Client):
    def __init__(self, base_url: str, api_key: str, late: bool = True) -> None:
        super().__init__(Wire(base_url, api_key), late)
        self._key, self._numbers = api_key, count()
        self._session = ""

    def _begun(self) -> str:
        if not self._session:
            self._session = str(self._wire.call("POST", "create_session", {})["session_id"])
        return self._session

    def create_rest_client(self) -> Any:
        return RestClient(self._wire.url, self._key, self._late)

    def get_server_capabilities(self) -> Any:
        return self.create_rest_client().get_server_capabilities()

    def create_sampling_client(self, base_model: str) -> Any:
        def work() -> Any:
            asked = {"session_id": self._begun(), "base_model": base_model}
            told = self._wire.call("POST", "create_sampling_session", asked)
            return SamplingClient(self._wire, self._late, told["sampling_session_id"])

        return self._made(work)

    def create_lora_training_client(self, base_model: str, rank: int, seed: int = 0) -> Any:
        def work() -> Any:
            asked = {"session_id": self._begun(), "model_seq_id": next(self._numbers)}
            asked |= {"base_model": base_model, "lora_config": {"rank": rank, "seed": seed}}
            told = self._wire.future("create_model", asked)
            return TrainingClient(self._wire, self._late, told["model_id"])

        return self._made(work)

    def create_training_client_from_state_with_optimizer(self, path: str) -> Any:
        def late() -> Any:
            asked = {"session_id": self._begun(), "model_seq_id": next(self._numbers)}
            told = self._wire.future("load_weights", {**asked, "path": path, "optimizer": True})
            return TrainingClient(self._wire, True, told["model_id"])

        def early() -> Any:
            info = self._wire.call("POST", "weights_info", {"tinker_path": path})
            client = self.create_lora_training_client(info["base_model"], info["lora_rank"])
            asked = {"model_id": client.model_id, "path": path, "optimizer": True}
            self._wire.future("load_weights", asked)
            return client

        return self._made(late if self._late else early)


def _datum(model_input: list[int], loss_fn_inputs: Body) -> Body:
    return {"tokens": model_input, **loss_fn_inputs}


def make_stub(release: str) -> ModuleType:
    """A module in the shape of that release."""
    late = release == "0.38"
    stub = ModuleType("tinker")
    stub.__spec__ = ModuleSpec("tinker", None)
    types = SimpleNamespace(
        SamplingParams=lambda **params: {"top_p": 1.0, **params},
        ModelInput=SimpleNamespace(from_ints=list),
    )
    whole = {
        "__version__": f"{release}.0",
        "types": types,
        "AdamParams": lambda **p: {"beta1": 0.9, "beta2": 0.95, "eps": 1e-12} | p,
        "Datum": _datum,
        "TensorData": SimpleNamespace(from_numpy=np.ndarray.tolist),
        "ServiceClient": lambda **where: ServiceClient(**where, late=late),
        "AuthenticationError": AuthenticationError,
        "PermissionDeniedError": PermissionDeniedError,
        "APIResponseValidationError": APIResponseValidationError,
    }
    if late:
        whole["RestClient"] = RestClient
    for name, value in whole.items():
        setattr(stub, name, value)
    return stub


def installed() -> str:
    """The release of the SDK that is installed, as "0.38"; "" where there is none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tinker").rpartition(".")[0]
    except PackageNotFoundError:
        return ""


def put_in_place(monkeypatch: Any, shape: str, folder: Any) -> None:
    """Have a test, and processes that it starts, find an SDK of that shape: the real one where it
    is installed, and the stub elsewhere.
    """
    import os
    import sys
    from pathlib import Path

    if installed() == shape:
        return
    monkeypatch.setitem(sys.modules, "tinker", make_stub(shape))
    where = folder / "sdk"
    where.mkdir()
    lines = ("import sys", "from tinker_stub import make_stub")
    module = f"sys.modules[__name__] = make_stub('{shape}')"
    (where / "tinker.py").write_text("\n".join([*lines, module, ""]))
    paths = [str(where), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in paths if p))
