"""Output of an engine's processes: kept in a file, from which a failure is told in one line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# vLLM puts the name and number of a process before each of its lines.
_ERROR = re.compile(r"(?<!\w)((?:\w{1,80}\.){0,12}\w{0,80}(?:Error|Exception): .+)")
_ELSEWHERE = ("root cause", "Engine core initialization failed", "Failed core proc")


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Send what this process and those that it starts print into a file, for the time being.

    Processes that were started keep writing there.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(number, os.dup(number)) for number in (1, 2)]
    try:
        with log.open("ab") as file:
            for number, _ in saved:
                os.dup2(file.fileno(), number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)


def cause_in(log: Path) -> str:
    """The last error in a log that does not point to another one; "" where there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = [m[1].strip() for m in _ERROR.finditer(text)]
    own = [line for line in found if not any(words in line for words in _ELSEWHERE)]
    return own[-1] if own else ""
