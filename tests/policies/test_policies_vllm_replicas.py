"""Several servers behind one address: an adapter is on each before it samples."""

import json
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ModelError, UsageError
from harness.policies.base import Sampling
from harness.policies.vllm.base import TokenRequest
from harness.policies.vllm.server import VLLMServer
from harness.policies.vllm.url import parse_address
from harness.settings.model import ModelSettings

FAST = ModelSettings(device="cpu", threads=1, retries=0, timeout=10, concurrency=4)


class Replica:
    """One `vllm serve`, as its own pages say it answers about adapters."""

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}
        self.sampled: list[str] = []
        self.full = False
        self.name = "m"
        self.forgetful = False  # samples the base model under any name that it was told

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/v1/load_lora_adapter":
            name = body["lora_name"]
            if self.full:
                return 400, {"error": {"message": "no room for another LoRA"}}
            if name in self.adapters:
                return 400, {"error": {"message": f"The lora adapter '{name}' has already been"}}
            self.adapters[name] = body["lora_path"]
            return 200, "Success"
        if path == "/v1/unload_lora_adapter":
            self.adapters.pop(body["lora_name"], None)
            return 200, "Success"
        if body["model"] not in ("m", *self.adapters):
            message = f"The model `{body['model']}` does not exist."
            return 404, {"error": {"message": message, "type": "NotFoundError", "code": 404}}
        self.sampled.append(body["model"])
        return 200, {
            "id": "c",
            "object": "text_completion",
            "created": 0,
            "model": self.name if self.forgetful else body["model"],
            "choices": [
                {
                    "index": 0,
                    "text": "x",
                    "finish_reason": "length",
                    "token_ids": [7],
                    "prompt_token_ids": body["prompt"],
                    "logprobs": {
                        "tokens": ["x"],
                        "token_logprobs": [-1.0],
                        "top_logprobs": [{"x": -1.0 / body["temperature"]}],
                        "text_offset": [0],
                    },
                }
            ],
        }


@contextmanager
def listening(*replicas: Replica) -> Iterator[str]:
    """An address behind which requests go to one replica after the other."""
    turn = count()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self, status: int, content: Any) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            if self.path == "/version":
                return self._reply(200, {"version": "0.32.0"})
            models = [{"id": r.name, "object": "model", "created": 0} for r in replicas[:1]]
            self._reply(200, {"object": "list", "data": models})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._reply(*replicas[next(turn) % len(replicas)].answer(self.path, body))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def sampled(server: VLLMServer, adapter: str, number: int = 12) -> list[str]:
    asks = [TokenRequest(f"r{i}", (3, 4), Sampling(1.0, 1.0, 1), i) for i in range(number)]
    return [answer.error for _, answer in server.generate(deque(asks), adapter)]


def opened(url: str, *servers: str) -> VLLMServer:
    behind = f"?servers={','.join(servers)}" if servers else ""
    return VLLMServer(parse_address(f"vllm:{url}{behind}#m"), FAST, (3, 4, 5))


def test_servers_that_are_named_load_an_adapter_before_the_next_request(tmp_path: Path) -> None:
    one, two = Replica(), Replica()
    with listening(one, two) as url, listening(one) as first, listening(two) as second:
        server = opened(url, first, second)
        for version in (1, 2):
            folder = tmp_path / f"v{version}"
            server.load_adapter(folder)
            assert one.adapters[folder.name] == two.adapters[folder.name] == str(folder)
            one.sampled.clear()
            two.sampled.clear()
            assert sampled(server, folder.name) == [""] * 12
            assert set(one.sampled) == set(two.sampled) == {folder.name}
        server.drop_adapter("v1")
        assert set(one.adapters) == set(two.adapters) == {"v2"}
        server.close()


def test_behind_a_balancer_a_replica_without_it_loads_it_and_no_request_is_lost(
    tmp_path: Path,
) -> None:
    replicas = [Replica() for _ in range(3)]
    with listening(*replicas) as url:
        server = opened(url)
        server.load_adapter(tmp_path / "v1")
        assert sum("v1" in r.adapters for r in replicas) == 1  # one request reaches one of them
        # The balancer decides which replica a load reaches: all have it only after some time.
        batches = 0
        while batches < 40 and not all("v1" in r.adapters for r in replicas):
            assert sampled(server, "v1", 30) == [""] * 30
            batches += 1
        assert all("v1" in r.adapters for r in replicas)
        assert all(set(r.sampled) <= {"m", "v1"} for r in replicas)
        assert sum(r.sampled.count("v1") for r in replicas) == 30 * batches
        server.close()


def test_a_replica_that_takes_no_adapter_stops_the_step(tmp_path: Path) -> None:
    one, two = Replica(), Replica()
    two.full = True
    with listening(one) as first, listening(two) as second:
        server = opened(first, first, second)
        with pytest.raises(ModelError, match=rf"{second} did not load an adapter.*no room"):
            server.load_adapter(tmp_path / "v1")
        server.close()


def test_a_server_that_is_down_or_serves_another_model_is_named_at_the_start() -> None:
    one, other = Replica(), Replica()
    other.name = "another"
    with listening(one) as first, listening(other) as second, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody else gets this address, and nothing answers at it
        down = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ModelError) as told:
            opened(first, first, second, down)
    said = str(told.value)
    assert f"{down} does not answer (APIConnectionError" in said
    assert f"{second} does not serve m, but another" in said
    assert f"{first} does" not in said
    assert one.adapters == {}


def test_a_replica_that_samples_the_base_model_under_an_adapters_name_stops_the_step(
    tmp_path: Path,
) -> None:
    one, two = Replica(), Replica()
    with listening(one, two) as url, listening(one) as first, listening(two) as second:
        server = opened(url, first, second)
        server.load_adapter(tmp_path / "v1")
        two.forgetful = True
        with pytest.raises(ModelError, match="sampled 'm' where 'v1' was asked for"):
            sampled(server, "v1")
        server.close()


def test_what_is_no_address_of_a_server_is_refused() -> None:
    with pytest.raises(UsageError, match="'gpu-1' is not the address of a server"):
        parse_address("vllm:http://h:1?servers=gpu-1#m")
