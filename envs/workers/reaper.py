"""Ends what a worker leaves behind: programs that it started in sessions of their own.

Killing a worker's group does not reach those, nor does a parent that is killed itself. So a worker
marks its environment, which everything it starts inherits, and starts this program, which waits
until the worker is gone and then kills whatever bears the mark. Standard library only: it is run
by its path, by any interpreter. Linux alone has the /proc that it reads; elsewhere it does nothing.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK = "HARNESS_WORKER_MARK"
_ROUNDS = 50  # sweeps at most; what a dying program starts is found by the next one
_PAUSE = 0.02  # seconds between two
_started: list["subprocess.Popen[bytes]"] = []


def guard() -> None:
    """Mark this process's environment, and have what bears the mark end with this process."""
    if not sys.platform.startswith("linux"):
        return
    unmarked = {name: value for name, value in os.environ.items() if name != MARK}
    os.environ[MARK] = mark = secrets.token_hex(16)
    # The pipe's other end is this process's alone: it closes when the process ends, however.
    reaper = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=unmarked,
        start_new_session=True,
    )
    _started.append(reaper)  # its pipe would be closed with the last reference to it


def marked(mark: str) -> list[int]:
    """The processes whose environment has the mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it has ended, or is not ours
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def sweep(mark: str) -> None:
    """Kill what bears the mark, until nothing does."""
    for _ in range(_ROUNDS):
        found = [pid for pid in marked(mark) if pid != os.getpid()]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE)


def main(mark: str) -> None:
    """Wait until the worker is gone, then sweep."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    sys.stdin.buffer.read()
    sweep(mark)


if __name__ == "__main__":
    main(sys.argv[1])
