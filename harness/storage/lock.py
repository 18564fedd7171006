"""One process a run directory: an advisory lock that dies with its holder."""

import fcntl
import os
from pathlib import Path

from harness.errors import RunError


class Lock:
    """Held from creation to `release`, or to the end of a `with`.

    A second holder is refused with the first one's pid.

    The kernel drops the lock when the process ends, however it ends; the descriptor is closed in
    children (Python's default), so that no orphan can hold it.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise RunError(
                f"{path.parent} is in use by process {holder or 'unknown'}; wait for it, "
                "or give another --run-dir."
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others in."""
        os.close(self._descriptor)
