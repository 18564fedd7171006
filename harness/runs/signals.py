"""Signals that ask a run to stop.

Ctrl-C once: finish the round, save, stop. Twice: stop now. SIGTERM and SIGHUP, which a batch system
or a closed terminal sends shortly before it kills: stop now, in order. The last checkpoint resumes.

A process that is the command line's own ends within five seconds of being told to stop now. Signals
are read by a thread of their own as well, because Python's handlers wait for C code to return.
"""

import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from harness.system.process_end import Deadline

_STOPPED = (
    "harness: stopped without waiting for what still ran. The last finished iteration is saved; "
    "continue with harness resume RUN."
)
_owned = False


class Terminated(KeyboardInterrupt):
    """A signal said to stop at once; `code` is what a shell expects of a process that obeyed."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


def own_process() -> None:
    """Declare that this process is the command line's own, so that a deadline may end it."""
    global _owned
    _owned = True


@contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether the user has asked to stop."""
    asked = False
    deadline = Deadline(_STOPPED) if _owned else None

    def heard(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            if deadline is not None:
                deadline.start(128 + number)
            raise KeyboardInterrupt
        asked = True
        say("stopping after this round; press Ctrl-C again to stop now")

    def ended(number: int, frame: FrameType | None) -> None:
        if deadline is not None:
            deadline.start(128 + number)
        raise Terminated(number)

    wanted = {signal.SIGINT: heard, signal.SIGTERM: ended}
    if sys.platform != "win32":  # Windows has no SIGHUP
        wanted[signal.SIGHUP] = ended
    before = {}
    with ExitStack() as stack:
        try:
            for number, handler in wanted.items():
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
                    before[number] = signal.signal(number, handler)
            if deadline is not None:
                stack.enter_context(_read_signals(deadline, before.keys() - {signal.SIGINT}))
        except ValueError:  # not the main thread: signals are the caller's business
            yield lambda: False
            return
        try:
            yield lambda: asked
        finally:
            for number, earlier in before.items():
                signal.signal(number, earlier)


@contextmanager
def _read_signals(deadline: Deadline, ends: "set[signal.Signals]") -> Iterator[None]:
    """Start the deadline when one of these signals comes, even while C code runs."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def read() -> None:
        while numbers := reader.recv(64):
            for number in numbers:
                if number in ends:
                    deadline.start(128 + number)
        reader.close()

    threading.Thread(target=read, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()  # ends the thread
