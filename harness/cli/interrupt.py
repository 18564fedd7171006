"""Ctrl-C once: finish the round, save, stop. Twice: stop now; the last checkpoint still resumes."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def polite(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yields a question: has the user asked to stop?"""
    asked = False

    def heard(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("stopping after this round; press Ctrl-C again to stop now")

    try:
        before = signal.signal(signal.SIGINT, heard)
    except ValueError:  # not the main thread: signals are the caller's business
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
