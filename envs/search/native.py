"""The search tool as a definition, for models that call tools natively."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from envs.search.tool import MAX_QUERIES, MAX_QUERY_CHARACTERS, MalformedCall, queries_of
from envs.tools.calls import ToolCall, read_calls

NAMES = frozenset({"search"})
NATIVE_PROMPT = """\
Answer the question with facts from the search tool. Where one fact leads to another, search step \
by step. Do not guess what a search can tell. To finish, reply with a line that says Answer: and \
one to five words."""
DEFINITION: Mapping[str, Any] = {
    "name": "search",
    "description": "Finds passages of text. Each query is searched on its own.",
    "parameters": {
        "type": "object",
        "properties": {
            "query_list": {
                "type": "array",
                "items": {"type": "string", "maxLength": MAX_QUERY_CHARACTERS},
                "minItems": 1,
                "maxItems": MAX_QUERIES,
                "description": "What to search for.",
            }
        },
        "required": ["query_list"],
    },
}


def search_calls(reply: str) -> list[ToolCall]:
    """The calls of a reply, in whatever form its model writes them."""
    return read_calls(reply, NAMES)[1]


def answer_calls(
    calls: Sequence[ToolCall], answer: Callable[[Sequence[str]], str], error: Callable[[str], str]
) -> tuple[list[str], str]:
    """A text for each call, and a note on the first that failed; "" where all were searched."""
    texts, note, asked = [], "", 0
    for call in calls:
        try:
            queries = queries_of(call.name, call.arguments, call.problem)
            asked += len(queries)
            if asked > MAX_QUERIES:
                raise MalformedCall(f"At most {MAX_QUERIES} queries are answered at once.")
        except MalformedCall as reason:
            note = note or f"The tool call failed: {reason}"
            texts.append(error(str(reason)))
        else:
            texts.append(answer(queries))
    return texts, note
