"""Strict parsing of what an OpenAI-compatible server sent.

A completion is scored, so nothing in it is guessed or coerced: a text that is not a string, a count
that is not a whole number, half an object or an error page is malformed, and requested again.
"""

import json
from typing import Any

from harness.errors import ModelError
from harness.types import Completion, Finish

LARGEST = 1 << 26  # bytes of one reply


class MalformedResponse(ValueError):
    """The server sent something that is no chat completion."""


def read_completion(data: bytes) -> Completion:
    """Parse the first choice of a chat completion.

    Raises:
        MalformedResponse: It is not a chat completion.
        ModelError: It has no token count, so that no budget can be kept.
    """
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedResponse(f"the reply is no JSON: {str(error)[:100]}") from None
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise MalformedResponse("the reply is no chat completion, or holds no choice")
    choice: dict[str, Any] = choices[0]
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else 0
    if not (text is None or isinstance(text, str)):
        raise MalformedResponse("the reply's first choice holds no message")
    finish = Finish.LENGTH if choice.get("finish_reason") == "length" else Finish.STOP
    return Completion(text or "", finish, _sampled(answer, choice))


def _sampled(answer: dict[str, Any], choice: dict[str, Any]) -> int:
    """Sampled tokens as the server counts them; never guessed, because budgets depend on it."""
    usage, logprobs = answer.get("usage"), choice.get("logprobs")
    if isinstance(usage, dict):
        count = usage.get("completion_tokens")
        if type(count) is not int or not 0 <= count < 1 << 32:
            raise MalformedResponse("the reply's count of tokens is no whole number")
        return count
    if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
        return len(logprobs["content"])
    raise ModelError(
        "The endpoint does not say how many tokens it sampled (no 'usage' in its reply), so no "
        "budget can be kept: use a server that reports usage."
    )
