"""A loopback stand-in for an OpenAI-compatible server: the real client talks to it over HTTP."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Answer = Callable[[Body, int], tuple[int, Any]]


def completion(text: str = "hello", finish: str = "stop", tokens: int | None = 3) -> Body:
    usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": text},
            }
        ],
        **({"usage": usage} if tokens is not None else {}),
    }


def event(chunk: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + (chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode()) + b"\n\n"


def streamed(whole: Body, size: int = 1) -> Iterator[bytes]:
    """A whole chat completion as the events of a stream, `size` characters of text in each."""
    base = {k: v for k, v in whole.items() if k not in ("choices", "usage", "error")}
    base["object"] = "chat.completion.chunk"
    choices = whole.get("choices") or []
    for choice in choices:
        more = {k: v for k, v in choice.items() if k in ("index", "error")}
        message = choice.get("message", {})
        yield event(base | {"choices": [more | {"delta": {"role": "assistant", "content": ""}}]})
        for name, value in message.items():
            if name == "role" or value is None:
                continue
            parts = [value[n : n + size] for n in range(0, len(value), size)]
            for part in parts:
                yield event(base | {"choices": [more | {"delta": {name: part}}], "usage": None})
        if choice.get("logprobs"):
            for token in choice["logprobs"]["content"]:
                logprobs = {"content": [token]}
                yield event(base | {"choices": [more | {"delta": {}, "logprobs": logprobs}]})
        end = {"delta": {}, "finish_reason": choice.get("finish_reason")}
        yield event(base | {"choices": [more | end]})
    if whole.get("error"):
        yield event({"error": whole["error"]})
    if whole.get("usage"):
        yield event(base | {"choices": [], "usage": whole["usage"]})
    yield event(b"[DONE]")


@contextmanager
def served(answer: Answer) -> Iterator[tuple[str, list[Body]]]:
    """A loopback server that replies what `answer(body, earlier calls)` says; and what it saw."""
    seen: list[Body] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self, status: int, content: Any) -> None:
            if isinstance(content, Iterator):  # the bytes of a stream
                self.send_response(status)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for part in content:
                    self.wfile.write(part)
                    self.wfile.flush()
                return
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status in (429, 500):
                self.send_header("retry-after-ms", "10")
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            if self.path == "/version":
                return self._reply(200, {"version": "0.32.0"})
            if not self.path.startswith("/v1/"):
                return self._reply(404, {"error": "no such path"})
            models = [{"id": "m", "object": "model", "created": 0, "owned_by": "me"}]
            self._reply(200, {"object": "list", "data": models})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.path.startswith("/v1/"):
                return self._reply(404, {"error": "no such path"})
            body["authorization"] = self.headers["Authorization"]
            body["path"] = self.path
            with lock:
                earlier = len(seen)
                seen.append(body)
            try:
                self._reply(*answer(body, earlier))
            except (BrokenPipeError, ConnectionResetError):
                return  # the client gave up waiting, which is what some tests are about

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"openai:http://127.0.0.1:{server.server_port}/v1#m", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
