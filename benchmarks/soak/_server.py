"""A loopback server of the OpenAI protocol that commits faults on demand.

One thread, one event loop: thousands of connections, of which some are never answered. Its
response depends on the request alone; the fault depends on the request and on the number of earlier
attempts, so a whole stress test follows from its seed.
"""

import asyncio
import hashlib
import json
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Body = dict[str, Any]
Reply = Callable[[Body], str]
Faults = Callable[[Body, int], str]

BUSY_SECONDS = 0.4  # what a 429 asks for
FAULTS = ("timeout", "429", "500", "cut", "wrong", "drip")
WRONG = (
    b"<html><body>502 Bad Gateway</body></html>",
    b'{"choices": []}',
    b'{"choices": [{"message": {"role": "assistant", "content": "4',
    b'{"choices": null, "usage": {"completion_tokens": 3}}',
    b"[1, 2, 3]",
    b'"ok"',
    b"null",
    b"",
    b"\xff\xfe\x00",
)


def key(body: Body) -> str:
    """Identity of a request: equal for repetitions of the same one."""
    return json.dumps([body["messages"], body.get("seed")])


def chance(*names: object) -> float:
    """A number in [0, 1) that these names decide."""
    return int.from_bytes(hashlib.sha256(repr(names).encode()).digest()[:4]) / 2**32


def completion(text: str) -> bytes:
    """A right reply; a token is a word."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 1, "completion_tokens": len(text.split()), "total_tokens": 2}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    whole = {"id": "c", "object": "chat.completion", "created": 0, "model": "m"}
    return json.dumps({**whole, "choices": [choice], "usage": usage}).encode()


class Server:
    """The server, with the requests it received and the faults it committed."""

    def __init__(self, reply: Reply, faults: Faults) -> None:
        self.reply, self.faults = reply, faults
        self.asked: Counter[str] = Counter()
        self.committed: Counter[str] = Counter()
        self.away = False  # every request is refused with a 503
        self.requests = self.open = self.most = 0
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            # Cancelled is how it ends: nothing that asyncio should log.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._one(reader, writer):
                    pass
        finally:
            self.open -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        body: Body = json.loads(await reader.readexactly(length))
        self.requests += 1
        if self.away:
            return await self._send(writer, 503, b'{"error": {"message": "away"}}')
        name = key(body)
        self.asked[name] += 1
        fault = self.faults(body, self.asked[name])
        self.committed[fault] += bool(fault)
        return await self._misbehave(fault, completion(self.reply(body)), name, reader, writer)

    async def _misbehave(
        self,
        fault: str,
        right: bytes,
        name: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        if fault == "timeout":
            await reader.read(1)  # until the client leaves
            return False
        if fault == "429":
            more = f"retry-after-ms: {BUSY_SECONDS * 1000:.0f}\r\n"
            return await self._send(writer, 429, b'{"error": {"message": "busy"}}', more)
        if fault == "500":
            return await self._send(writer, 500, b'{"error": {"message": "broken"}}')
        if fault == "wrong":
            return await self._send(writer, 200, WRONG[zlib.crc32(name.encode()) % len(WRONG)])
        writer.write(self._head(200, len(right)))
        if fault == "cut":
            writer.write(right[: len(right) // 2])
            await writer.drain()
            return False
        if fault == "drip":
            for byte in right:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
            return True
        writer.write(right)
        await writer.drain()
        return True

    @staticmethod
    def _head(status: int, length: int, more: str = "") -> bytes:
        return (
            f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n{more}\r\n"
        ).encode()

    async def _send(
        self, writer: asyncio.StreamWriter, status: int, data: bytes, more: str = ""
    ) -> bool:
        writer.write(self._head(status, len(data), more) + data)
        await writer.drain()
        return True


class Manners:
    """A check that no client sends before the retry time of a 429 it has received.

    Watched where an attempt begins and ends: of 64 threads that were let go, the last may need half
    a second on a busy machine until its request has left, and the server as long until it reads it.
    """

    GRACE = 0.05  # seconds that two threads may need to tell each other

    def __init__(self, policy: Any) -> None:
        self.early = self.heard = 0
        self._last = float("-inf")
        self._lock = threading.Lock()
        self._ask = policy._ask
        policy._ask = self._asked

    def _asked(self, **options: Any) -> Any:
        with self._lock:
            since = time.monotonic() - self._last
            self.early += self.GRACE < since < BUSY_SECONDS - 0.01
        try:
            return self._ask(**options)
        except Exception as error:
            if getattr(error, "status_code", 0) == 429:
                with self._lock:
                    self._last = time.monotonic()
                    self.heard += 1
            raise


def good(body: Body, times: int) -> str:
    """A server without faults."""
    return ""


@contextmanager
def served(reply: Reply, faults: Faults = good) -> Iterator[tuple[str, Server]]:
    """The address of a server that runs until the block ends, and the server."""
    server, loop = Server(reply, faults), asyncio.new_event_loop()

    listening = loop.run_until_complete(
        asyncio.start_server(server.handle, "127.0.0.1", 0, backlog=4096)
    )
    server.port = listening.sockets[0].getsockname()[1]

    async def stop() -> None:
        listening.close()
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close their sockets

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"openai:http://127.0.0.1:{server.port}/v1#m", server
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
