"""Reading what an OpenAI-compatible server sent, strictly: a completion, or the reason for none.

A completion is scored, so nothing in it is guessed or coerced: a text that is no string, a count
that is no whole number, half an object and an error page are malformed and asked for again. Where
the server says that it failed or held the text back, nothing was answered: such a request has no
score, and the reason is in the server's own words.
"""

import json
from collections.abc import Mapping
from typing import Any

from harness.errors import ModelError
from harness.policies.openai.tools import calls_text
from harness.types import Completion, Finish

LARGEST = 1 << 26  # bytes of one reply
_WORDS = 200  # characters of a server's own words that are passed on
_STOPPED = frozenset(
    ("", "stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed")
)
_CUT_OFF = frozenset(("length", "max_tokens", "max_new_tokens", "max_output_tokens"))
_FAILED = frozenset(("error", "abort", "aborted", "cancelled", "canceled", "timeout"))
UNCOUNTED = (
    "The endpoint does not say how many tokens it sampled (no 'usage' in its reply), so no "
    "budget can be kept: use a server that reports usage."
)
REASONING = ("reasoning_content", "reasoning", "thinking")


class MalformedResponse(ValueError):
    """The server sent no chat completion, or said that it failed; asked again it may do better."""


class WithheldResponse(ValueError):
    """The server answered that there is no answer, and would say so again."""


def read_completion(data: bytes, tools: bool = False) -> Completion:
    """The first choice of a chat completion that came whole; with `tools`, calls are its text too.

    Raises:
        MalformedResponse: It is none, or tells of an error of the server.
        WithheldResponse: The text was filtered, or there is only a finished thought.
        ModelError: It is one, but without a count of tokens, so that no budget can be kept.
    """
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedResponse(f"the reply is no JSON: {str(error)[:100]}") from None
    return completion_of(answer, tools)


def completion_of(answer: Any, tools: bool = False) -> Completion:
    """The completion in a response that is JSON already; raises like `read_completion`."""
    if isinstance(answer, dict) and answer.get("error"):
        raise MalformedResponse(f"the server reported an error: {words_of(answer['error'])}")
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        told = f": {words_of(answer)}" if isinstance(answer, dict) and not choices else ""
        raise MalformedResponse(f"the reply is no chat completion, or holds no choice{told}")
    choice: dict[str, Any] = choices[0]
    if choice.get("error"):
        raise MalformedResponse(f"the server reported an error: {words_of(choice['error'])}")
    message = choice.get("message")
    if not isinstance(message, dict):
        raise MalformedResponse("the reply's first choice holds no message")
    text, inner = _content(message.get("content"))
    if not text and isinstance(message.get("refusal"), str):
        text = message["refusal"]  # the model's own words under another name
    calls = message.get("tool_calls")
    if tools and calls:
        text, calls = "\n".join(filter(None, (text, calls_text(calls)))), None
    reasoning = next(filter(None, (_thought(message.get(name)) for name in REASONING)), "") + inner
    finish = _finish(choice, bool(text.strip()), bool(reasoning), bool(calls))
    sampled = _sampled(answer, choice)
    if sampled == 0 and (text.strip() or reasoning):
        raise MalformedResponse("the server counts 0 tokens beside a text, so no budget holds")
    return Completion(text, finish, sampled, reasoning=reasoning)


def words_of(error: object) -> str:
    """A server's message of an error: one printable line of at most 200 characters."""
    said = error
    # Servers and proxies nest their errors; a few levels, so that no reply leads deeper.
    for _ in range(4):
        if not isinstance(said, Mapping):
            break
        said = next((said[k] for k in ("message", "detail", "error", "msg") if said.get(k)), None)
    if not isinstance(said, str):
        said = json.dumps(error, default=str)
    code = error.get("code") if isinstance(error, Mapping) else None
    return printable(said if code is None else f"{said} (code {code})")[:_WORDS]


def printable(text: str) -> str:
    """Text as one line, with control characters written out."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _content(content: object) -> tuple[str, str]:
    """Text and thought of a message's content, which is a text or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if not isinstance(content, list):
        raise MalformedResponse("the reply's first choice holds no message")
    text, thought = "", ""
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "output_text") and isinstance(part.get("text"), str):
            text += part["text"]
        elif kind in ("thinking", "reasoning"):
            thought += _thought(part.get(kind) or part.get("text"))
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            text += part["refusal"]
        else:
            raise MalformedResponse(f"the reply holds a part that is no text: {words_of(kind)}")
    return text, thought


def _thought(told: object) -> str:
    """A thought that is told apart from the text: a text, or a list of parts with texts."""
    if isinstance(told, list):
        return "".join(_thought(p.get("text")) for p in told if isinstance(p, dict))
    return told if isinstance(told, str) else ""


def _finish(choice: Mapping[str, Any], text: bool, thought: bool, called: bool) -> Finish:
    """The end of a completion: stopped or cut off; raises where the server says it was neither."""
    told = choice.get("finish_reason")
    reason = told.lower() if isinstance(told, str) else "" if told is None else words_of(told)
    if reason in _CUT_OFF:
        return Finish.LENGTH
    if reason in _FAILED:
        raise MalformedResponse(f"the server ended the reply with '{reason}'")
    if reason in ("tool_calls", "function_call") or (called and not text):
        if text:
            return Finish.STOP
        raise WithheldResponse(
            "the server took the text for a call of a tool: start it without its own tool parser"
        )
    if reason not in _STOPPED:
        raise WithheldResponse(f"the server ended the reply with '{printable(reason)[:_WORDS]}'")
    if thought and not text:
        raise WithheldResponse("the server sent a thought and no text beside it")
    return Finish.STOP


def _sampled(answer: dict[str, Any], choice: dict[str, Any]) -> int:
    """Tokens sampled, as the server counts them; never guessed, because budgets depend on it."""
    usage, logprobs = answer.get("usage"), choice.get("logprobs")
    if isinstance(usage, dict):
        count = usage.get("completion_tokens")
        # By exact type, because JSON's true is an int to `isinstance`.
        if type(count) is not int or not 0 <= count < 1 << 32:
            raise MalformedResponse("the reply's count of tokens is no whole number")
        return count
    if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
        return len(logprobs["content"])
    raise ModelError(UNCOUNTED)
