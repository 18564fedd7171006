"""The request parameters that a server takes, learnt from its refusals.

Servers disagree on the name of the token limit, and some models take no temperature, top_p or seed.
What a server refuses by name is renamed or left out from then on, and `notes` says so. Refusals are
read as a context overflow or a least token limit here, too, since only their words tell them apart.
"""

import re
from collections.abc import Mapping
from typing import Any

OPTIONAL = ("top_p", "temperature", "seed")
"""Parameters without which a request can be made."""
STREAM: Mapping[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
"""Parameters of a stream that ends with a count of tokens; sent together or not at all."""
_STREAMING = re.compile(r"\bstream(?:ing|_options)?\b", re.IGNORECASE)
LIMITS = ("max_tokens", "max_completion_tokens")
_REFUSES = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|extra[ _](?:inputs|fields)"
    r"|extra_forbidden|not permitted|not allowed|cannot both|deprecated|cannot find field"
    r"|only the default",
    re.IGNORECASE,
)
_OVERFLOW = re.compile(
    r"context[ _](?:length|window|size|limit)|exceed_context_size|(?:prompt|input) is too long"
    r"|maximum (?:input|prompt|sequence|model) length|longer than the (?:model|maximum)"
    r"|max_model_len|max_total_tokens|must be <= ?\d+\. Given",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"(?:context (?:length|window|size|limit)(?: is| of|:)?|must be <=|tokens? >|n_ctx\W+) ?(\d+)",
    re.IGNORECASE,
)
_PROMPT = re.compile(
    r"(?<!\d)(\d{1,12}) ?(?:input tokens|`?inputs`? tokens|tokens in your prompt"
    r"|(?:tokens )?(?:from|in) the (?:input|messages|prompt))|n_prompt_tokens\W+(\d+)",
    re.IGNORECASE,
)
_LEAST = re.compile(
    r"(?:at least|minimum (?:value )?(?:of|is)|>=|greater than or equal to) ?(\d{1,4})(?!\d)",
    re.IGNORECASE,
)
_SPENT = re.compile(r"max_tokens or model output limit was reached", re.IGNORECASE)


def refusal(error: Exception) -> str:
    """The words in which a server refused a request as such; "" for any other error."""
    from openai import APIStatusError

    refused = isinstance(error, APIStatusError) and error.status_code in (400, 413, 422)
    return str(error) if refused else ""


def overflows(words: str) -> bool:
    """True if a refusal says that prompt and completion are longer than the model's context."""
    return bool(_OVERFLOW.search(words))


def room_left(words: str) -> int:
    """The tokens that an overflow leaves for a completion; 0 where it does not say."""
    context, prompt = _CONTEXT.search(words), _PROMPT.search(words)
    if not context or not prompt:
        return 0
    return max(0, int(context[1]) - int(prompt[1] or prompt[2]))


def limit_spent(words: str) -> bool:
    """True if a refusal says that the token limit was used up before any text."""
    return bool(_SPENT.search(words))


def least_limit(words: str) -> int:
    """The least token limit that a refusal names; 0 where it names none."""
    # Other numbers, such as a temperature, have minimums too.
    least = _LEAST.search(words) if "tokens" in words else None
    return int(least[1]) if least else 0


class EndpointParameters:
    """Parameters that one server accepts; methods may be called from any thread."""

    def __init__(self, limit: str = "max_tokens", omitted: frozenset[str] = frozenset()) -> None:
        self._limit, self._omitted = limit, omitted
        self._refused: frozenset[str] = frozenset()
        self._streams = True

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each parameter that is left out."""
        asked = ((name, "The address omits") for name in sorted(self._omitted))
        refused = ((name, "The endpoint refuses") for name in sorted(self._refused & set(OPTIONAL)))
        unsent = (
            f"{reason} {name}, so it is not sent and the server's own value holds."
            for name, reason in (*asked, *refused)
        )
        if self._streams:
            return tuple(unsent)
        return (
            *unsent,
            "The endpoint does not stream with a count of tokens, so the time of a completion "
            "follows from the token limit and the rate of earlier ones.",
        )

    def no_stream(self) -> None:
        """Ask for whole completions from now on."""
        self._streams = False

    def adapted(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options as this server takes them; `max_tokens` is the limit's name before."""
        sent = {k: v for k, v in options.items() if k not in self._refused | self._omitted}
        if "max_tokens" in options:
            sent.pop("max_tokens", None)
            sent[self._limit] = options["max_tokens"]
        return sent | (dict(STREAM) if self._streams else {})

    def learn(self, words: str, sent: Mapping[str, Any]) -> bool:
        """Read a refusal of what was sent; True where the request should be sent again."""
        if not _REFUSES.search(words):
            return False
        named = [name for name in (*OPTIONAL, *LIMITS) if re.search(rf"\b{name}\b", words)]
        for name in named:
            # Only what was sent can be left out; else the same request would be repeated for ever.
            if name in OPTIONAL and name in sent:
                self._refused |= {name}
                return True
        if "stream" in sent and _STREAMING.search(words):
            self._streams = False
            return True
        limit = next((name for name in LIMITS if name in sent), "")
        other = next((name for name in LIMITS if name != limit), "")
        # A server that names the other one takes it; one that ignored it would set no limit.
        if limit in named and other in named and other not in self._refused:
            self._refused |= {limit}
            self._limit = other
            return True
        return False
