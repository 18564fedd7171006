"""Redaction of secrets: whatever is written or shown passes through `redact`.

A secret is the value of an environment variable whose name ends in KEY, TOKEN, SECRET or PASSWORD,
what stands before the @ of an address, an address's parameter of such a name, or what follows
Bearer. Short values are left: they stand in any text.
"""

import os
import re
import sys
import threading
import traceback
from types import TracebackType

HIDDEN = "[secret]"
SHORTEST = 8  # characters of a value that is looked for
_NAMES = r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)"
_VARIABLE = re.compile(rf"{_NAMES}$", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/\s@'\"]{1,400}@")
_PARAMETER = re.compile(rf"([?&;][A-Za-z_.-]{{0,40}}{_NAMES}=)[^&\s#'\"]{{1,400}}", re.IGNORECASE)
_BEARER = re.compile(r"(\bBearer\s+)[\w.~+/=-]{8,400}", re.IGNORECASE)


def secret_name(name: str) -> bool:
    """Whether a variable or setting of this name holds a secret."""
    return bool(_VARIABLE.search(name))


def redact(text: str) -> str:
    """The text with every secret replaced by "[secret]"."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and value in text and secret_name(name):
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

    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = told
        threading.excepthook = lambda hook: told(hook.exc_type, hook.exc_value, hook.exc_traceback)
