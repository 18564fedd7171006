"""The text protocol of the search tool: parsing calls, formatting results and errors.

A call is `<tool_call>{"name": "search", "arguments": {"query_list": ["…"]}}</tool_call>`
(E-SPL §4.1). Only an agent's own reply is ever read for calls. What a passage or a query says is
shown with its tool tags taken apart, so that repeating a passage calls nothing.
"""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from envs.search.corpus import Passage

PROTOCOL_VERSION = "2"
MAX_QUERIES = 4
MAX_QUERY_CHARACTERS = 300
MAX_CALL_CHARACTERS = 4000
_OPENING, _CLOSING = "<tool_call>", "</tool_call>"
_EXAMPLE = '<tool_call>{"name": "search", "arguments": {"query_list": ["…"]}}</tool_call>'
_BLANK = re.compile(r"[ \t\r\n,]*")
_TAGS = re.compile(r"<(/?tool_(?:call|response))>", re.IGNORECASE)


class MalformedCall(Exception):
    """A reply that meant to call the tool but does not say how; the message is for the agent."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One query and the passages found for it, best first."""

    query: str
    passages: tuple[Passage, ...]


def parse_queries(reply: str) -> tuple[str, ...]:
    """The queries of all calls in a reply, in order and each once; () where it calls nothing.

    Raises:
        MalformedCall: A call is not closed, is not JSON, or asks for what the tool lacks.
    """
    queries: dict[str, None] = {}
    end = 0
    openings, closings = _Places(reply, _OPENING), _Places(reply, _CLOSING)
    while True:
        opening, closing = openings.after(end), closings.after(end)
        if opening < 0 and closing < 0:
            break
        if opening < 0 or 0 <= closing < opening:
            raise MalformedCall(f"{_CLOSING} closes no call. Write {_EXAMPLE}.")
        found, end = _call(reply, opening + len(_OPENING), openings, closings)
        # A dict keeps the order, and each query once.
        queries |= dict.fromkeys(found)
    if len(queries) > MAX_QUERIES:
        raise MalformedCall(f"{len(queries)} queries at once; at most {MAX_QUERIES} are answered.")
    return tuple(queries)


class _Places:
    """Places of a tag in a text, asked for in order, so that no part is searched twice."""

    def __init__(self, text: str, tag: str) -> None:
        self._text, self._tag = text, tag
        self._next = text.find(tag)

    def after(self, start: int) -> int:
        """The first place at or behind `start`; -1 if there is none."""
        if 0 <= self._next < start:
            self._next = self._text.find(self._tag, start)
        return self._next


def _call(reply: str, start: int, openings: _Places, closings: _Places) -> tuple[list[str], int]:
    """The queries of the call that begins at `start`, and where reading goes on."""
    try:
        requests, end = _objects(reply[start : start + MAX_CALL_CHARACTERS + 1])
        problem = "There is text behind it"
    except (ValueError, RecursionError) as error:
        requests, end = [], 0
        problem = error.msg if isinstance(error, json.JSONDecodeError) else "It is nested too deep"
    # Tags within a text of the JSON end nothing: the call ends where its JSON does.
    if requests and reply.startswith(_CLOSING, start + end):
        place = start + end
        # Closing tags that a model repeats right behind the first mean nothing more.
        while reply.startswith(_CLOSING, place):
            place += len(_CLOSING)
        return [query for request in requests for query in _queries(request)], place
    again, closing = openings.after(start), closings.after(start)
    if closing < 0:
        if again >= 0:
            return [], again
        raise MalformedCall(f"The call is not closed. Write {_EXAMPLE}.")
    if 0 <= again < closing:
        return [], again  # a tag repeated before the call belongs to no call
    if closing - start > MAX_CALL_CHARACTERS:
        raise MalformedCall(
            f"The call has more than {MAX_CALL_CHARACTERS} characters. Write {_EXAMPLE}."
        )
    raise MalformedCall(f"The call is not JSON. {problem}. Write {_EXAMPLE}.")


def _objects(text: str) -> tuple[list[Any], int]:
    """The JSON values at the beginning of a text, one after another, and where they end.

    Line breaks within texts are taken as they are: models write them.
    """
    decoder = json.JSONDecoder(strict=False)
    values: list[Any] = []
    place = _BLANK.match(text).end()  # type: ignore[union-attr]  # matches anywhere
    while not values or text.startswith(("{", "["), place):
        value, place = decoder.raw_decode(text, place)
        values += value if isinstance(value, list) else [value]
        place = _BLANK.match(text, place).end()  # type: ignore[union-attr]
    return values, place


def _queries(request: object) -> list[str]:
    if not isinstance(request, dict) or request.get("name") != "search":
        raise MalformedCall(f'The only tool is named "search". Write {_EXAMPLE}.')
    arguments = request.get("arguments")
    if isinstance(arguments, str):  # as OpenAI's own calls have them
        with suppress(ValueError, RecursionError):
            arguments = json.loads(arguments, strict=False)
    queries = arguments.get("query_list") if isinstance(arguments, dict) else None
    if not isinstance(queries, list) or not queries:
        raise MalformedCall(
            f'"arguments" must hold "query_list", a list of texts. Write {_EXAMPLE}.'
        )
    if not all(isinstance(query, str) for query in queries):
        raise MalformedCall(f'Everything in "query_list" must be text. Write {_EXAMPLE}.')
    cleaned = [single_line(query) for query in queries]
    if any(not query or len(query) > MAX_QUERY_CHARACTERS for query in cleaned):
        raise MalformedCall(f"A query must have 1 to {MAX_QUERY_CHARACTERS} characters.")
    return cleaned


def queries_of(name: str, arguments: object, problem: str = "") -> list[str]:
    """The queries of a call that was read already; raises MalformedCall."""
    if problem:
        raise MalformedCall(problem)
    return _queries({"name": name, "arguments": arguments})


def single_line(text: str) -> str:
    """Text as one line that can be stored and shown: no lone surrogates, no control characters, no
    tool tags.
    """
    encodable = text.encode("utf-8", "replace").decode("utf-8")
    line = "".join(c if c.isprintable() else " " for c in encodable)
    return " ".join(_TAGS.sub(r"[\1]", line).split())


def format_results(found: Sequence[SearchHit], characters: int) -> str:
    """The results of a round: passages of at most `characters` each, none twice."""
    lines: list[str] = []
    numbers: dict[str, int] = {}
    for result in found:
        query = single_line(result.query)
        heading = f'Results for "{query}":'
        lines.append(heading if result.passages else f'Nothing was found for "{query}".')
        for passage in result.passages:
            title = single_line(passage.title)
            if passage.id in numbers:
                lines.append(f"[{numbers[passage.id]}] {title} (see above)")
                continue
            numbers[passage.id] = len(numbers) + 1
            lines.append(f"[{numbers[passage.id]}] {title}: {_cut(passage.text, characters)}")
    return _response("\n".join(lines))


def format_error(reason: str) -> str:
    """The tool's response to a call it cannot follow."""
    return _response(f"Error: {reason}")


def format_call(*queries: str) -> str:
    """A call as an agent would write it."""
    request = {"name": "search", "arguments": {"query_list": list(queries)}}
    return f"{_OPENING}{json.dumps(request, ensure_ascii=False)}{_CLOSING}"


def _cut(text: str, characters: int) -> str:
    whole = single_line(text)
    if len(whole) <= characters:
        return whole
    # Back to the last space, so that no word is cut in two.
    return whole[:characters].rpartition(" ")[0] + " …"


def _response(text: str) -> str:
    return f"<tool_response>\n{text}\n</tool_response>"
