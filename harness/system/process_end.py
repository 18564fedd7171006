"""The end of this process: with its parent, within a deadline, without waiting for what hangs.

All of a run's files are whole at every moment, so a process may end between any two instructions.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress

_PARENT = "HARNESS_ENDS_WITH_PROCESS"
_LOOK = 0.5  # seconds between two looks for the parent, where the kernel does not tell
SECONDS = 4.0
"""Seconds that a process has to end in order, once it was told to stop at once."""
_left_behind: list[str] = []


def environment_of_child() -> dict[str, str]:
    """Variables that make a command of the harness end when this process does."""
    return {_PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """End this process, however its parent ends, if the parent asked for that.

    Called first of all by every command.
    """
    # Taken out, because commands that this one starts have another parent.
    wanted = os.environ.pop(_PARENT, "")
    if not wanted.isdecimal():
        return
    parent = int(wanted)
    if sys.platform == "linux":
        import ctypes

        # The number is that of linux/prctl.h; Python's library has no name for it.
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before this line
        os._exit(128 + signal.SIGTERM)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(128 + signal.SIGTERM)


class Deadline:
    """Ends this process some seconds after `start`, whatever still runs in it."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._started = False

    def start(self, code: int) -> None:
        """Begin to count, once."""
        with self._lock:
            if self._started:
                return
            self._started = True
        threading.Thread(target=self._end, args=(code,), daemon=True).start()

    def _end(self, code: int) -> None:
        time.sleep(SECONDS)
        # By a thread of its own: a reader that does not read must not delay the end.
        threading.Thread(target=self._say, daemon=True).start()
        time.sleep(0.1)
        os._exit(code)

    def _say(self) -> None:
        with suppress(OSError):
            os.write(2, f"{self._line}\n".encode())


def leave_behind(name: str) -> None:
    """Note that something hangs in a thread, for which the end of this process must not wait."""
    _left_behind.append(name)


def end_now_if_left_behind(code: int) -> None:
    """End at once with that exit code if something was left behind, or else do nothing.

    Python would otherwise wait for threads and exit functions of what hangs.
    """
    if not _left_behind:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
