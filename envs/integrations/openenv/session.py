"""One episode on an OpenEnv server: a WebSocket, and messages of JSON over it.

The protocol is that of the openenv package: `reset` and `step` are answered by an `observation`
(with `observation`, `reward` and `done`), or by an `error` (with `message` and `code`). Each
connection is a session of its own; the server forgets it when it is closed.
"""

import importlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from envs.errors import UnknownEnv
from envs.integrations.hosted_env import HostedEnvFailed, one_line

OPEN_SECONDS = 15.0
LONGEST_MESSAGE = 16 * 1024**2  # bytes
_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


class ActionRefused(Exception):
    """The server takes no such action; the message is its reason."""


class NoCapacity(HostedEnvFailed):
    """All sessions of the server are in use."""


def reasons(errors: object) -> str:
    """The problems that the server found with an action, in at most 300 characters."""
    found = [
        f"{'.'.join(map(str, error.get('loc') or ()))}: {error.get('msg')}"
        for error in (errors if isinstance(errors, list) else ())
        if isinstance(error, dict)
    ]
    return one_line(f" ({'; '.join(found)})") if found else ""


def tool_function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool of the Model Context Protocol as a function with a JSON schema."""
    schema = tool.get("inputSchema", tool.get("input_schema"))
    return {
        "name": str(tool.get("name", ""))[:200],
        "description": str(tool.get("description") or "")[:4000],
        "parameters": schema if isinstance(schema, dict) else {"type": "object"},
    }


def open_session(socket: str, seconds: float, seed: int) -> tuple["Session", dict[str, Any]]:
    """A session and its first observation; a server that is full is asked until time is up.

    A server with one session frees it only a moment after the connection before has closed.
    """
    end, pause = time.monotonic() + seconds, 0.05
    while True:
        session = Session(socket, seconds)
        try:
            return session, session.reset(seed)
        except NoCapacity:
            session.close()
            if time.monotonic() + pause > end:
                raise
            time.sleep(pause)
            pause = min(2 * pause, 2.0)
        except BaseException:
            session.close()
            raise


def parse_address(url: str) -> tuple[str, str]:
    """The base address for HTTP, and that of the WebSocket; raises UnknownEnv."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise UnknownEnv(
            f"'{url}' is no address of an OpenEnv server; write openenv:ws://127.0.0.1:8000."
        )
    scheme, path = _SCHEMES[parts.scheme], parts.path.rstrip("/").removesuffix("/ws")
    socket = scheme.replace("http", "ws")
    http = urlunsplit((scheme, parts.netloc, path, "", ""))
    return http, urlunsplit((socket, parts.netloc, f"{path}/ws", "", ""))


def fetch_json(http: str, what: str) -> dict[str, Any]:
    """The server's answer at /schema or /metadata; raises UnknownEnv."""
    # No proxy that the environment variables name: it would not reach a server on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{http}/{what}", timeout=OPEN_SECONDS) as answer:
            found = json.loads(answer.read(LONGEST_MESSAGE))
    except (OSError, ValueError, RecursionError, urllib.error.URLError) as reason:
        raise UnknownEnv(
            f"No OpenEnv server answers at {http}/{what} ({one_line(reason)}). Start it, and name"
            " its address: --env openenv:ws://HOST:PORT"
        ) from reason
    if not isinstance(found, dict):
        raise UnknownEnv(f"What {http}/{what} says is no JSON object.")
    return found


class Session:
    """A connection, for one episode; every failure is HostedEnvFailed."""

    def __init__(self, socket: str, seconds: float) -> None:
        client: Any = importlib.import_module("websockets.sync.client")
        self._seconds = seconds
        self._open = ExitStack()
        try:
            self._socket = self._open.enter_context(
                client.connect(
                    socket,
                    open_timeout=OPEN_SECONDS,
                    max_size=LONGEST_MESSAGE,
                    proxy=None,
                    # Pings keep the connection; a server whose step takes long answers none.
                    ping_timeout=None,
                )
            )
        except Exception as reason:  # a dozen kinds; all mean: no connection
            raise HostedEnvFailed(f"no connection to the server ({one_line(reason)})") from reason

    def reset(self, seed: int) -> dict[str, Any]:
        """The first observation; the server may do with the seed what it likes."""
        try:
            return self._request({"type": "reset", "data": {"seed": seed}})
        except ActionRefused as reason:
            raise HostedEnvFailed(f"the server refused to begin ({reason})") from reason

    def list_tools(self) -> list[Mapping[str, Any]]:
        """The tools of the session, as functions; [] where the server has none."""
        ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        try:
            answer = self._request({"type": "mcp", "data": ask}, "mcp")
        except (HostedEnvFailed, ActionRefused):
            return []
        result = answer.get("result")
        found = result.get("tools") if isinstance(result, dict) else None
        return [tool_function(tool) for tool in found or () if isinstance(tool, dict)]

    def step(self, action: Mapping[str, Any]) -> dict[str, Any]:
        """The next observation; raises ActionRefused where the server takes no such action."""
        return self._request({"type": "step", "data": dict(action)})

    def close(self) -> None:
        """Say goodbye, if there is anybody to say it to."""
        with suppress(Exception):
            self._socket.send(json.dumps({"type": "close"}))
        with suppress(Exception):
            self._open.close()

    def _request(self, message: Mapping[str, Any], kind: str = "observation") -> dict[str, Any]:
        try:
            # A server that is full has said so and hung up: what it said can still be read.
            with suppress(Exception):
                self._socket.send(json.dumps(message))
            message = json.loads(self._socket.recv(timeout=self._seconds))
        except TimeoutError as reason:
            raise HostedEnvFailed(f"the server was silent for {self._seconds:g} s") from reason
        except Exception as reason:  # a dozen kinds; all mean: the episode is lost
            raise HostedEnvFailed(f"the connection was lost ({one_line(reason)})") from reason
        data = message.get("data") if isinstance(message, dict) else None
        if not isinstance(data, dict):
            raise HostedEnvFailed("the server's answer is no message of the protocol")
        if message.get("type") == "error":
            why = one_line(data.get("message", "no reason given"))
            if data.get("code") == "VALIDATION_ERROR":
                raise ActionRefused(f"{why}{reasons(data.get('errors'))}")
            if data.get("code") == "CAPACITY_REACHED":
                raise NoCapacity(f"the server has no free session: {why}")
            raise HostedEnvFailed(f"the server failed: {why} ({one_line(data.get('code'))})")
        if message.get("type") != kind:
            raise HostedEnvFailed(f"the server's answer is no {kind}")
        return data
