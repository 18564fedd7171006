"""An OpenAI-compatible endpoint whose completions are the replies of the policy.

Loaded by its path into another interpreter: the standard library only. The environment asks an
OpenAI-compatible endpoint on loopback for a completion; the request waits until somebody replies.
Each episode has a path of its own and a token, so late requests and other programs get no answer.
"""

import json
import queue
import re
import secrets
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_REQUEST_BYTES = 32 * 1024**2  # bytes
_OPEN_TAG, _CLOSE_TAG = "<tool_call>", "</tool_call>"
_ROUTE = re.compile(r"/([0-9a-f]{32})/v1/chat/completions/?")

Event = dict[str, Any]


class Conversation:
    """One episode's requests, one at a time: what is asked comes out, what is replied goes in.

    `events` holds `{"asked": messages, "tools": [...]}` for each request, and whatever the player
    of the episode puts there when it is over.
    """

    def __init__(self) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self._replies: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._one_at_a_time = threading.Lock()
        self._tools = False
        self._over = False

    def ask(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The completion to a request, once it is there; None where the episode was given up."""
        # An environment may ask several times at once; the policy replies to one after the other.
        with self._one_at_a_time:
            if self._over:
                return None
            tools = [tool.get("function", tool) for tool in body.get("tools") or []]
            self._tools = bool(tools)
            self.events.put({"asked": body.get("messages") or [], "tools": tools})
            message = self._replies.get()
        if message is None:
            return None
        whole = chat_completion(message, str(body.get("model", "model")))
        return as_event(whole) if body.get("stream") else whole

    def reply(self, text: str) -> None:
        """Answer the waiting request with this reply."""
        self._replies.put(assistant_message(text, self._tools))

    def abandon(self) -> None:
        """Answer no further request."""
        self._over = True
        self._replies.put(None)


def assistant_message(text: str, tools: bool) -> dict[str, Any]:
    """A reply as a message; where tools are offered, what stands in <tool_call> is a call.

    An empty reply is a blank: clients take an empty message for a broken server.
    """
    calls, texts, place = [], [], 0
    for start, end in tool_call_spans(text) if tools else ():
        call = parse_tool_call(text[start + len(_OPEN_TAG) : end - len(_CLOSE_TAG)])
        if call is not None:
            calls.append(call)
            texts.append(text[place:start])
            place = end
    rest = "".join([*texts, text[place:]])
    message: dict[str, Any] = {"role": "assistant", "content": rest.strip() if calls else rest}
    if calls:
        message["tool_calls"] = calls
    elif not text:
        message["content"] = " "
    return message


def tool_call_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each <tool_call>…</tool_call>; one pass, however many are open."""
    start = text.find(_OPEN_TAG)
    while start >= 0:
        closed = text.find(_CLOSE_TAG, start + len(_OPEN_TAG))
        if closed < 0:
            return
        end = closed + len(_CLOSE_TAG)
        yield start, end
        start = text.find(_OPEN_TAG, end)


def parse_tool_call(text: str) -> dict[str, Any] | None:
    """A tool call from its JSON, or None where it is none."""
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    arguments = call.get("arguments", {})
    if not isinstance(arguments, dict):
        return None
    function = {"name": call["name"], "arguments": json.dumps(arguments)}
    return {"id": f"call_{uuid.uuid4().hex[:16]}", "type": "function", "function": function}


def chat_completion(message: dict[str, Any], model: str) -> dict[str, Any]:
    """A chat completion; tokens are not counted here."""
    finish = "tool_calls" if "tool_calls" in message else "stop"
    return {
        "id": uuid.uuid4().hex,
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def as_event(whole: dict[str, Any]) -> dict[str, Any]:
    """A completion as the only event of a stream."""
    choice = dict(whole["choices"][0])
    message = choice.pop("message")
    calls = [{"index": n, **call} for n, call in enumerate(message.get("tool_calls", ()))]
    choice["delta"] = message | ({"tool_calls": calls} if calls else {})
    return whole | {"object": "chat.completion.chunk", "choices": [choice]}


class ModelEndpoint:
    """A server on a free port of loopback; `open` gives an episode its address."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(16)
        self._open: dict[str, Conversation] = {}
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self._send(*endpoint.answer(self))

            def _send(self, status: int, content: dict[str, Any]) -> None:
                streams = content.get("object") == "chat.completion.chunk"
                data = json.dumps(content).encode("ascii")
                data = b"data: %b\n\ndata: [DONE]\n\n" % data if streams else data
                self.send_response(status)
                kind = "text/event-stream" if streams else "application/json"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = True

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    return  # whoever asked has gone

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        # Port 0: the system picks one that is free.
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def open(self) -> tuple[str, Conversation]:
        """A new episode's base URL and its conversation."""
        path, conversation = secrets.token_hex(16), Conversation()
        self._open[path] = conversation
        return f"http://127.0.0.1:{self._server.server_port}/{path}/v1", conversation

    def close(self, url: str) -> None:
        """Let an episode's address be forgotten."""
        self._open.pop(url.rsplit("/", 2)[-2], None)

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, Any]]:
        """Status and content for a request."""
        size = request.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > MAX_REQUEST_BYTES:
            return 413, error_body("this request has no length, or too much of it")
        # Read before the refusals below: a client that is still writing would see a broken
        # connection.
        content = request.rfile.read(int(size))
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return 401, error_body("the token is not this endpoint's")
        route = _ROUTE.fullmatch(request.path)
        conversation = self._open.get(route[1]) if route else None
        if conversation is None:
            return 404, error_body("no episode is played here")
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            return 400, error_body("this is no JSON")
        if not isinstance(body, dict):
            return 400, error_body("this is no JSON object")
        reply = conversation.ask(body)
        return (200, reply) if reply else (409, error_body("the episode was given up"))


def error_body(message: str) -> dict[str, Any]:
    """An error as such endpoints tell it."""
    return {"error": {"message": message, "type": "world"}}
