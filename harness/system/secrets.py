"""Redaction of secrets: logs, errors, trackers and entries pass through `redact`.

A secret is the value of an environment variable whose name ends in KEY, TOKEN, SECRET or PASSWORD,
what stands before the @ of an address, an address's parameter of such a name, or what follows
Bearer. A value that is short, made of few characters or a usual placeholder is none: it stands in
any text (`is_secret`).

A model's completions are never redacted: they are graded, trained on and stored as said.
"""

import os
import re
import sys
import threading
import traceback
from collections.abc import Iterable
from types import TracebackType

HIDDEN = "[secret]"
SHORTEST = 8  # characters of a value that is looked for
_FEWEST = 5  # different characters in it
# What local servers are given where any key will do, in their own manuals: "EMPTY", "token-abc123",
# "sk-no-key-required", "lm-studio".
_PLACEHOLDER = re.compile(
    "a|abc|any|anything|api|apikey|changeme|default|dummy|empty|example|fake|foo|foobar|free|here|"
    "insert|irrelevant|key|lm|local|localhost|mock|my|na|needed|no|none|not|null|ollama|openai|"
    "password|placeholder|proj|required|secret|sk|studio|test|testing|token|undefined|unused|used|"
    "vllm|xxx|your|0*1?2?3?4?5?6?7?8?9?0?"
)
_NAMES = r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)"
_VARIABLE = re.compile(rf"{_NAMES}$", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/\s@'\"]{1,400}@")
_PARAMETER = re.compile(rf"([?&;][A-Za-z_.-]{{0,40}}{_NAMES}=)[^&\s#'\"]{{1,400}}", re.IGNORECASE)
_BEARER = re.compile(r"(\bBearer\s+)[\w.~+/=-]{8,400}", re.IGNORECASE)


def secret_name(name: str) -> bool:
    """True if a variable or setting of this name holds a secret."""
    return bool(_VARIABLE.search(name))


def is_secret(value: str) -> bool:
    """True if a value is worth hiding: no short one, no repetition, no placeholder.

    At least eight characters, at least five different ones, and not made of the words and counting
    digits of placeholders alone.
    """
    if len(value) < SHORTEST or len(set(value)) < _FEWEST:
        return False
    parts = re.findall(r"[^\W\d_]+|\d+", value.lower())
    return not parts or not all(map(_PLACEHOLDER.fullmatch, parts))


def redact(text: str, known: Iterable[str] = ()) -> str:
    """The text with every secret replaced by "[secret]"; `known` are values that may be more."""
    for value in known:
        if value in text and is_secret(value):
            text = text.replace(value, HIDDEN)
    for name, value in os.environ.items():
        if value in text and secret_name(name) and is_secret(value):
            text = text.replace(value, HIDDEN)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    if "://" in text:
        text = _USER.sub(f"{HIDDEN}@", text)
        text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
    return text


def guard_tracebacks() -> None:
    """Redact what Python prints of uncaught errors, in all threads."""

    def told(
        kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lines = traceback.format_exception(kind, error, trace)
        sys.stderr.write(redact("".join(lines)))

    # A hook that someone else has set is left alone.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = told
        threading.excepthook = lambda hook: told(hook.exc_type, hook.exc_value, hook.exc_traceback)
