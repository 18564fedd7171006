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


@contextmanager
def served(answer: Answer) -> Iterator[tuple[str, list[Body]]]:
    """A loopback server that replies what `answer(body, earlier calls)` says; and what it saw."""
    seen: list[Body] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self, status: int, content: Any) -> None:
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
