"""Talks to a server of the Model Context Protocol, in a process of `envs.workers`.

The client is the official one (package `mcp`). The server of a command runs as a child of this
process and ends with it; each episode has a session, and so a server process, of its own.
"""

import asyncio
import importlib
import json
import runpy
import shlex
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Answer = dict[str, Any]

_REAPER = runpy.run_path(str(Path(__file__).parents[2] / "workers" / "reaper.py"))


class ToolServer:
    """A session with a server, opened and closed by one task, as the client wants it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._session: Any = None
        self._leave: Any = None
        self._task: Any = None

    def answer(self, job: Job) -> Answer:
        """`open` (server), `call` (name, arguments) or `close`."""
        asked = {"open": self._open, "call": self._call, "close": self._close}[job["ask"]]
        return asyncio.run_coroutine_threadsafe(asked(job), self._loop).result()

    async def _open(self, job: Job) -> Answer:
        await self._close(job)
        ready: asyncio.Future[Answer] = self._loop.create_future()
        self._leave = asyncio.Event()
        self._task = self._loop.create_task(self._serve(str(job["server"]), ready))
        return await ready

    async def _serve(self, server: str, ready: "asyncio.Future[Answer]") -> None:
        try:
            async with AsyncExitStack() as stack:
                streams = await stack.enter_async_context(transport(server))
                session: Any = importlib.import_module("mcp").ClientSession
                self._session = await stack.enter_async_context(session(*streams[:2]))
                await self._session.initialize()
                listed = await self._session.list_tools()
                ready.set_result({"tools": [function_of(tool) for tool in listed.tools]})
                await self._leave.wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))

    async def _call(self, job: Job) -> Answer:
        result = await self._session.call_tool(job["name"], job["arguments"])
        told = result.model_dump(mode="json", by_alias=True)
        texts = [
            str(part["text"]) if part.get("type") == "text" else json.dumps(part)
            for part in told.get("content") or ()
        ]
        failed = bool(told.get("isError"))
        return {"text": ("error: " if failed else "") + "\n".join(texts)}

    async def _close(self, job: Job) -> Answer:
        if self._task is not None:
            self._leave.set()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = self._session = None
        return {}


def transport(server: str) -> Any:
    """The connection to a server: a command over its standard streams, or an address over HTTP."""
    if server.startswith(("http://", "https://")):
        http: Any = importlib.import_module("mcp.client.streamable_http")
        named = getattr(http, "streamable_http_client", None) or http.streamablehttp_client
        return named(server)
    stdio: Any = importlib.import_module("mcp.client.stdio")
    command, *arguments = shlex.split(server)
    environment = dict(importlib.import_module("os").environ)
    parameters = stdio.StdioServerParameters(command=command, args=arguments, env=environment)
    return stdio.stdio_client(parameters)


def function_of(tool: Any) -> Answer:
    """A tool as a function with a JSON schema."""
    told = tool.model_dump(mode="json", by_alias=True)
    return {
        "name": str(told["name"])[:200],
        "description": str(told.get("description") or "")[:4000],
        "parameters": told.get("inputSchema") or {"type": "object"},
    }


def make() -> Callable[[Job], Answer]:
    """The function that `envs.workers.serve` serves."""
    # The client starts servers in sessions of their own.
    _REAPER["guard"]()
    importlib.import_module("mcp")
    return ToolServer().answer
