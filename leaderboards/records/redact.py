r"""Redaction of absolute paths and network addresses from published records.

The rule is the same in both directions: `redacted` replaces what it finds, and a record is refused
if `redacted` would change it. A path is two components from the root (`/x/y`), one well-known root
(`/home`), a home (`~/x`), a drive (`C:\x`) or a share; it counts at the start of a text and after
a space, quote, bracket or `= : , ; |`. So `math/v1`, `1/2` and `/no_think` are not paths. An
address is anything with a scheme and `://`. Host names without a scheme cannot be told from words
and are not found.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from leaderboards.records.strict_json import JSON

_START = r"""(?<![^\s=:,;|'"(\[{<])"""
_REST = r"""[^\s,;|'")\]}>]*"""
_ROOTS = "home|root|tmp|var|etc|opt|mnt|srv|usr|private|Users|Volumes|work|workspace|scratch|data"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s,;|'\")\]}>#]*")
_PATH = re.compile(
    rf"(?:(?<![A-Za-z0-9])[A-Za-z]:[\\/](?=[^\s\\/])"  # a drive
    rf"|{_START}\\\\(?=\w)"  # a share
    rf"|{_START}~[\w.-]*/(?=[^\s/])"  # a home
    rf"|{_START}/+(?=[\w.~@+-]+/)"  # two components
    rf"|{_START}/(?=(?:{_ROOTS})(?![\w.-])))"  # or one known root
    rf"{_REST}"
)


def _last(match: re.Match[str]) -> str:
    parts = [part for part in re.split(r"[\\/]", match[0]) if part]
    return f"…/{parts[-1]}" if len(parts) > 1 else "…"


def redacted(text: str) -> str:
    """The text with addresses replaced by "…" and paths by "…/" and their last component.

    `hf:/mine/tuned` becomes `hf:…/tuned`, `openai:http://host/v1#name` becomes `openai:…#name`.
    """
    # No path or address goes without a slash, and most strings have none: the patterns are slow.
    if "/" not in text and "\\" not in text:
        return text
    before = None
    # Until nothing changes: a record is refused if `redacted` would change it, so it must leave its
    # own results alone.
    while before != text:
        before, text = text, _PATH.sub(_last, _ADDRESS.sub("…", text))
    return text


def redacted_json(value: JSON) -> JSON:
    """The value with every string redacted, keys included."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {redacted(key): redacted_json(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [redacted_json(item) for item in value]
    return value


def named_strings(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every string of a JSON value, keys included, with the path of its field."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield name, key
            if isinstance(item, str):  # as most are: a generator for each would cost more
                yield f"{name}.{key}", item
            else:
                yield from named_strings(f"{name}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from named_strings(f"{name}[{number}]", item)
