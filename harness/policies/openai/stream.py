"""Streamed chat completions (server-sent events), put together as if they had come whole.

The result is read by `response`, so a streamed and a whole completion are judged by the same rules.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import ModelError
from harness.policies.openai.pace import RequestClock
from harness.policies.openai.response import (
    LARGEST,
    REASONING,
    MalformedResponse,
    WithheldResponse,
    completion_of,
    read_completion,
)
from harness.policies.openai.tools import merge_calls
from harness.types import Completion

_TEXTS = ("content", "refusal", *REASONING)
_BEYOND = 10  # times the token limit, in events: no tokenizer needs more
_FIELDS = (b"data:", b":", b"event:", b"id:", b"retry:")


class UncountedStream(Exception):
    """A complete stream without a count of tokens; the same request unstreamed may have one."""


class ResponseReader:
    """One response, streamed or whole, as its bytes arrive.

    `growth` counts the events that brought content; `streamed` is None before the first bytes.
    With `tools`, calls of tools are part of a completion; without, they are no answer.
    """

    def __init__(self, max_tokens: int, tools: bool = False) -> None:
        self.growth = 0
        self._tools = tools
        self.streamed: bool | None = None
        self._most = _BEYOND * max_tokens + 100
        self._size = 0
        self._data = bytearray()  # of a whole response, or the stream's unfinished last line
        self._event = ""
        self._lines: list[bytes] = []  # of the event that is being read
        self._ended = False
        self._answer: dict[str, Any] = {}
        self._message: dict[str, Any] | None = None
        self._pieces: dict[str, list[Any]] = {}  # of the message's texts, by field
        self._logprobs = 0

    def feed(self, part: bytes) -> None:
        """Take the next bytes.

        Raises:
            MalformedResponse: They are no stream of a completion, or too large.
            WithheldResponse: The stream does not end where the token limit is reached.
        """
        self._data += part
        if len(self._data) > LARGEST or self._size > LARGEST:
            raise MalformedResponse(f"the reply is larger than {LARGEST >> 20} MiB")
        begun = self.streamed is None and self._begins()
        # A long line is looked at once it is whole, not again with each of its parts.
        if self.streamed and (begun or b"\n" in part):
            self._read_lines()

    def _begins(self) -> bool:
        """Tell from the first bytes whether this is a stream: not every server names the type."""
        begin = bytes(self._data[:1000]).lstrip()
        if begin.startswith(_FIELDS):
            self.streamed = True
        elif begin and not any(field.startswith(begin) for field in _FIELDS):
            self.streamed = False
        return self.streamed is not None

    def completion(self) -> Completion:
        """The completion, once all bytes are there.

        Raises:
            MalformedResponse, WithheldResponse, ModelError: As `read_completion`, if it came whole.
            UncountedStream: It was streamed without a count of tokens.
        """
        if not self.streamed:
            return read_completion(bytes(self._data), self._tools)
        self._data += b"\n"
        self._read_lines()
        self._end_event()
        answer = self._answer
        choice = answer.get("choices", [{}])[0]
        ended = self._ended or choice.get("finish_reason") is not None
        if not (ended or choice.get("error") or answer.get("error")):
            raise MalformedResponse("the stream ended before the completion did")
        if self._message is not None:
            texts = {name: _joined(pieces) for name, pieces in self._pieces.items()}
            choice["message"] = self._message | texts
        if self._logprobs:
            choice["logprobs"] = {"content": [None] * self._logprobs}
        try:
            return completion_of(answer, self._tools)
        except ModelError:
            raise UncountedStream from None

    def _read_lines(self) -> None:
        *lines, rest = self._data.split(b"\n")
        self._data = rest
        for line in lines:
            field, _, value = bytes(line).rstrip(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if not field and not value:
                self._end_event()
            elif field == b"data":
                self._lines.append(value)
            elif field == b"event":
                self._event = value.decode("utf-8", "replace")

    def _end_event(self) -> None:
        """Take in an event; one without data, such as a sign of life, is none."""
        data, event = b"\n".join(self._lines), self._event
        self._lines, self._event = [], ""
        if data.strip() == b"[DONE]":
            self._ended = True
        elif data.strip() and not self._ended:
            try:
                chunk = json.loads(data)
            except (ValueError, RecursionError) as error:
                raise MalformedResponse(f"an event is no JSON: {str(error)[:100]}") from None
            if not isinstance(chunk, dict):
                raise MalformedResponse("an event is no part of a chat completion")
            self._merge({"error": chunk} if event == "error" and "error" not in chunk else chunk)

    def _merge(self, chunk: Mapping[str, Any]) -> None:
        for name, value in chunk.items():
            # Later chunks repeat the others; usage comes once, and is null elsewhere.
            if name != "choices" and value is not None:
                self._answer[name] = value
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return
        for choice in choices:
            if not isinstance(choice, dict):
                raise MalformedResponse("an event holds a choice that is none")
            if choice.get("index") in (None, 0):
                self._merge_choice(choice)

    def _merge_choice(self, choice: Mapping[str, Any]) -> None:
        whole = self._answer.setdefault("choices", [{}])[0]
        for name in ("finish_reason", "error"):
            if choice.get(name) is not None:
                whole[name] = choice[name]
        logprobs = choice.get("logprobs")
        tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
        grew = isinstance(tokens, list) and bool(tokens)
        self._logprobs += len(tokens) if isinstance(tokens, list) else 0
        delta = choice.get("delta", choice.get("message"))
        if isinstance(delta, dict):
            if "delta" not in choice:
                self._forget_repeated(delta)
            self._message = {} if self._message is None else self._message
            for name in _TEXTS:
                grew |= self._append(name, delta.get(name))
            if delta.get("tool_calls"):
                calls = self._message.setdefault("tool_calls", [])
                self._size += merge_calls(calls, delta["tool_calls"])
                grew = True
        self.growth += grew
        if self.growth > self._most:
            raise WithheldResponse("the server streams on beyond the token limit")

    def _forget_repeated(self, message: Mapping[str, Any]) -> None:
        """Drop the pieces of a text that a last, whole message repeats."""
        for name, pieces in self._pieces.items():
            # A text that is one piece may be a real repetition, as in a count.
            if len(pieces) > 1 and message.get(name) == _joined(pieces):
                pieces.clear()
        if message.get("tool_calls") and self._message:
            self._message.pop("tool_calls", None)

    def _append(self, name: str, piece: object) -> bool:
        """Take a piece of a text; True if there was any."""
        if piece is None:
            return False
        self._pieces.setdefault(name, []).append(piece)
        self._size += len(piece) if isinstance(piece, str) else 0
        return bool(piece)


def _joined(pieces: Sequence[Any]) -> Any:
    """A text, or a list of parts if some pieces are; anything else is left to the reader."""
    if all(isinstance(piece, str) for piece in pieces):
        whole = "".join(pieces)
        # A character beyond 16 bits may have been split in two, each escaped in its own event.
        return whole.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    parts: list[Any] = []
    for piece in pieces:
        if not isinstance(piece, str | list):
            return piece
        text = [{"type": "text", "text": piece}] if piece else []
        parts += text if isinstance(piece, str) else piece
    return parts


def read_all(response: Any, reader: ResponseReader, clock: RequestClock) -> None:
    """Read a response of the client to its end, or until its time is over.

    As it arrives: a server that sends a byte now and then would never meet the client's own
    time-out, which holds from one read to the next.
    """
    from openai import APIConnectionError, APITimeoutError

    parts = response.iter_bytes()
    while True:
        try:
            part = next(parts, None)
        except Exception as error:  # of the HTTP library, which openai does not translate
            if clock.expired():
                raise APITimeoutError(response.http_request) from None
            raise APIConnectionError(request=response.http_request) from error
        if part is None:
            return
        before = reader.growth
        reader.feed(part)
        if reader.streamed is not None:
            clock.arriving(reader.streamed)
        if reader.growth > before:
            clock.growing()
        if clock.expired():
            raise APITimeoutError(response.http_request)
