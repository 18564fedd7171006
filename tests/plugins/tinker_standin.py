"""A loopback stand-in for Tinker's server, and for SkyRL 0.4.0's: the SDK talks to it over HTTP.

It speaks the endpoints that the SDK calls, protobuf where the SDK does, and computes for real: a
small causal language model with LoRA adapters by peft, its own sampling, its own losses and AdamW.
Nothing of the harness is used in it. In the shape of "0.38" it does what that SDK wants and what
Tinker documents; in that of "0.25" what SkyRL's server was seen to do: no ids of samples, states
loaded into a model that is there, means for losses, no word on contexts, adapters as archives.

    PYTHONPATH=tests/plugins python -m tinker_standin NAME=FOLDER [--port N] [--shape 0.25]
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tinker_lab import Lab

KEY = "tml-a-key-for-tests"
Fault = Callable[[str, int], tuple[int, str] | None]
"""What goes wrong: (path, earlier calls of it) -> (status, message), or None."""

_PROTO = "application/x-protobuf"


class Future:
    """A result that the SDK will ask for."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.done = threading.Event()
        self.result: Any = None
        self.error = ""

    def run(self) -> None:
        try:
            self.result = self.work()
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
        self.done.set()


class Server:
    """Sessions, futures and what was asked; the work itself is done by `Lab`, one at a time."""

    def __init__(self, lab: Lab, keys: set[str], shape: str) -> None:
        self.lab = lab
        self.keys = keys
        self.shape = shape
        self.archives: dict[str, bytes] = {}
        self.calls: list[tuple[str, Any]] = []
        self.fault: Fault = lambda path, earlier: None
        self.delay = 0.0
        self._lock, self._busy = threading.Lock(), threading.Lock()
        self._futures: dict[str, Future] = {}
        self._waiting: dict[str, dict[int, Future]] = {}  # by model, until its turn comes
        self._turn: dict[str, int] = {}
        self._sessions = 0

    def count(self, path: str) -> int:
        return sum(1 for called, _ in self.calls if called == path)

    def promise(self, id: str, work: Callable[[], Any], **more: Any) -> dict[str, Any]:
        """A future; asking again with the same id is a retry, and gets the same one."""
        with self._lock:
            new = id not in self._futures
            future = self._futures.setdefault(id, Future(work))
        if new:
            threading.Thread(target=self._run, args=(future,), daemon=True).start()
        return {"request_id": id, **more}

    def in_turn(self, model: str, seq: int, work: Callable[[], Any]) -> dict[str, Any]:
        """A future of a training request, which run in the order of their numbers."""
        id = f"{model}/{seq}"
        with self._lock:
            if id in self._futures:
                return {"request_id": id, "model_id": model}
            future = self._futures[id] = Future(work)
            self._waiting.setdefault(model, {})[seq] = future
            ready = []
            while (turn := self._turn.get(model, 1)) in self._waiting[model]:
                ready.append(self._waiting[model].pop(turn))
                self._turn[model] = turn + 1
        if ready:
            threading.Thread(target=self._run, args=tuple(ready), daemon=True).start()
        return {"request_id": id, "model_id": model}

    def _run(self, *futures: Future) -> None:
        for future in futures:
            with self._busy:
                future.run()

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        lab = self.lab
        match path.removeprefix("/api/v1/").split("/"):
            case ["healthz"]:
                return 200, {"status": "ok"}
            case ["client", "config"] | ["client", "dynamic_config"]:
                return 200, {}
            case ["get_server_capabilities"]:
                told = lab.served()
                names = [{"model_name": one["model_name"]} for one in told]
                return 200, {"supported_models": names if self.shape == "0.25" else told}
            case ["create_session"]:
                self._sessions += 1
                return 200, {"session_id": f"session-{self._sessions}", "type": "create_session"}
            case ["session_heartbeat"]:
                return 200, {"type": "session_heartbeat"}
            case ["telemetry"]:
                return 200, {"status": "accepted"}
            case ["create_sampling_session"]:
                id = lab.new_sampler(body.get("model_path") or body["base_model"])
                return 200, {"sampling_session_id": id, "type": "create_sampling_session"}
            case ["samplers", id]:
                name = next(n for n in lab.folders if lab.samplers[id] is lab.bases.get(n))
                return 200, {"sampler_id": id, "base_model": name}
            case ["asample"]:
                session = body["sampling_session_id"]
                id = f"{session}/{body['seq_id']}"
                if session not in lab.samplers:
                    return 404, {"detail": f"Sampling session {session} not found"}
                work = lambda: lab.sample(session, body)  # noqa: E731
                more = {} if self.shape == "0.25" else {"sample_sequence_ids": [id]}
                return 200, self.promise(id, work, **more)
            case ["create_model"]:
                id = f"{body['session_id']}:train:{body['model_seq_id']}"
                id = id.replace(":", "-") if self.shape == "0.25" else id
                made = lambda: lab.new_model(id, body["base_model"], body["lora_config"])  # noqa: E731
                return 200, self.promise(f"create/{id}", made, model_id=id)
            case ["get_info"]:
                return 200, lab.info(body["model_id"])
            case ["weights_info"]:
                state = lab.states.get(body["tinker_path"])
                if state is None:
                    return 404, {"detail": f"Checkpoint not found: {body['tinker_path']}"}
                return 200, {"base_model": state.base, "is_lora": True, "lora_rank": state.rank}
            case ["load_weights"]:
                return self._load(body)
            case ["unload_model"]:
                lab.models.pop(body["model_id"], None)
                return 200, {"request_id": "unloaded", "model_id": body["model_id"]}
            case ["training_runs", id, "checkpoints"]:
                return 200, {"checkpoints": []}
            case ["training_runs", id, "checkpoints", name, "archive"]:
                return 302, f"/kept/{id}/{name}"
            case ["training_runs", *_]:
                return 200, lab.delete(path)
            case ["sessions", _, "finish"]:
                return 200, {}
        if path.startswith("/kept/"):
            return 200, self.archives[path.removeprefix("/kept/")]
        return self._training(path, body)

    def _load(self, body: Any) -> tuple[int, Any]:
        """A state into a model: one that is there (0.25), or one that this makes (0.38)."""
        lab = self.lab
        wanted = "model_id" if self.shape == "0.25" else "session_id"
        if body.get(wanted) is None:
            return 422, {"detail": f"{wanted}: Field required"}
        made = f"{body.get('session_id')}:train:{body.get('model_seq_id')}"
        id = body["model_id"] if self.shape == "0.25" else made
        work = lambda: lab.load(id, body["path"], body["optimizer"])  # noqa: E731
        return 200, self.promise(f"load/{id}", work, model_id=id)

    def _archive(self, model: str, name: str) -> dict[str, Any]:
        """Keep an adapter for download, as peft writes it but for its target modules."""
        with tempfile.TemporaryDirectory() as folder:
            self.lab.export(model, Path(folder))
            config = Path(folder, "adapter_config.json")
            config.write_text(json.dumps(json.loads(config.read_text()) | {"target_modules": None}))
            whole = io.BytesIO()
            with tarfile.open(fileobj=whole, mode="w:gz") as tar:
                for file in sorted(Path(folder).iterdir()):
                    tar.add(file, file.name)
        self.archives[f"{model}/{name}"] = whole.getvalue()
        return {"type": "save_weights_for_sampler", "path": f"tinker://{model}/{name}"}

    def _training(self, path: str, body: Any) -> tuple[int, Any]:
        lab, model = self.lab, body["model_id"]
        if model not in lab.models:
            return 400, {"detail": f"Model {model} not loaded"}
        named = path.endswith("for_sampler") and body.get("path")
        works: dict[str, Callable[[], Any]] = {
            "forward_backward": lambda: lab.forward_backward(model, body),
            "optim_step": lambda: lab.optim_step(model, body["adam_params"]),
            "save_weights": lambda: lab.save(model, body["path"]),
            "save_weights_for_sampler": lambda: (
                self._archive(model, body["path"]) if named else lab.publish(model)
            ),
        }
        work = works.get(path.removeprefix("/api/v1/"))
        if work is None:
            return 404, {"detail": f"no such path: {path}"}
        if self.shape == "0.25":  # in the order of arrival; not every request has a number
            number = body.get("seq_id") or f"{path}/{len(self._futures)}"
            return 200, self.promise(f"{model}/{number}", work, model_id=model)
        return 200, self.in_turn(model, body["seq_id"], work)

    def retrieve(self, id: str) -> tuple[int, Any]:
        """Long polling; half a second is longer than anything here takes."""
        future = self._futures.get(id)
        if future is None:
            return 404, {"detail": f"there is no future {id}"}
        if not future.done.wait(0.5):
            return 200, {"type": "try_again", "request_id": id, "queue_state": "active"}
        if future.error:
            return 200, {"error": future.error, "category": "server"}
        return 200, future.result


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: Server

    def do_GET(self) -> None:
        self._serve(None)

    def do_DELETE(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Type") == _PROTO:
            import tinker_wire

            self._serve(tinker_wire.parse(raw))
        else:
            self._serve(json.loads(raw or b"{}"))

    def _serve(self, body: Any) -> None:
        server, path = self.server_of, self.path.split("?")[0]
        with server._lock:
            earlier = server.count(path)
            server.calls.append((path, body))
        key = self.headers.get("X-API-Key", "")
        if (wrong := server.fault(path, earlier)) is not None:
            return self._reply(wrong[0], {"detail": wrong[1].replace("KEY", key)})
        open_to_all = path.endswith("/healthz") or path.startswith("/kept/")
        if not open_to_all and key not in server.keys:
            return self._reply(401, {"detail": f"{key} is no key of ours"})
        time.sleep(server.delay)
        if path == "/api/v1/retrieve_future":
            status, told = server.retrieve(body["request_id"])
            if status == 200 and "X-Stub" not in self.headers:
                import tinker_wire

                told = tinker_wire.encode(told)
            return self._reply(status, told)
        try:
            self._reply(*server.answer(path, body))
        except (KeyError, ValueError) as error:
            self._reply(422, {"detail": f"{type(error).__name__}: {error}"})

    def _reply(self, status: int, content: Any) -> None:
        where, content = (content, b"") if status == 302 else ("", content)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        try:
            self.send_response(status)
            if where:
                self.send_header("Location", where)
            self.send_header(
                "Content-Type", _PROTO if isinstance(content, bytes) else "application/json"
            )
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            return  # the client was killed, which is what some tests are about

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def tinker_server(
    models: dict[str, Path], port: int = 0, shape: str = "0.38"
) -> Iterator[tuple[str, Server]]:
    """A server of these models by name; its address, and what it saw."""
    server = Server(Lab(models, means=shape == "0.25"), {KEY, "tml-none"}, shape)
    handler = type("_Handler", (Handler,), {"server_of": server})
    http = ThreadingHTTPServer(("127.0.0.1", port), handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def main() -> None:
    import sys

    port = int(sys.argv[sys.argv.index("--port") + 1]) if "--port" in sys.argv else 0
    shape = sys.argv[sys.argv.index("--shape") + 1] if "--shape" in sys.argv else "0.38"
    models = {n: Path(f) for n, _, f in (a.partition("=") for a in sys.argv[1:]) if f}
    with tinker_server(models, port, shape) as (url, _):
        print(url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
