"""Ends an engine's processes when the process that started them ends, in whatever way.

vLLM's processes do not notice that their parent was killed (seen with 0.32: they stayed, with all
their memory). A shell reads from a pipe that only this process can write to: a line releases it,
the pipe's end means that this process is gone.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress

_WAIT = """
read -r line && exit
kill -TERM "$@"
for second in 1 2 3 4 5; do
    sleep 1
    kill -0 "$@" || exit
done
kill -KILL "$@"
"""


class Watchdog:
    """Ends the given processes when this one is gone, until it is released."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _WAIT, "guard", *map(str, pids)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C and a closed terminal are not for it
        )

    def let_go(self) -> None:
        """Stop watching: the processes have ended."""
        with suppress(OSError, subprocess.TimeoutExpired):
            self._shell.communicate(b"\n", timeout=10)
