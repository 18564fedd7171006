"""Signals that ask a run to stop.

Ctrl-C once: finish the round, save, stop. Twice: stop now. SIGTERM and SIGHUP, which a batch system
or a closed terminal sends shortly before it kills: stop now, in order. The last checkpoint resumes.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """A signal said to stop at once; `code` is what a shell expects of a process that obeyed."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether the user has asked to stop."""
    asked = False

    def heard(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("stopping after this round; press Ctrl-C again to stop now")

    def ended(number: int, frame: FrameType | None) -> None:
        raise Terminated(number)

    wanted = {signal.SIGINT: heard, signal.SIGTERM: ended}
    if sys.platform != "win32":  # Windows has no SIGHUP
        wanted[signal.SIGHUP] = ended
    before = {}
    try:
        for number, handler in wanted.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
                before[number] = signal.signal(number, handler)
    except ValueError:  # not the main thread: signals are the caller's business
        yield lambda: False
        return
    try:
        yield lambda: asked
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
