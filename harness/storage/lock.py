"""One process per run directory: a file lock that ends with its holder, by filelock."""

import errno
import os
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import RunError
from harness.storage.own_files import refuse_link

_MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE),
    *(errno.ENFILE, errno.EIO, errno.EFBIG),
)
"""A disk that is full, read-only or broken, which has sentences of its own."""


class Lock:
    """Held from creation to `release`, or to the end of a `with`.

    A second holder is refused with the first one's pid. The operating system drops the lock when
    the process ends, however it ends, and children do not inherit it.

    Raises:
        RunError: Another process holds it, this file system has no locks, or the file is a link.
    """

    def __init__(self, path: Path) -> None:
        try:
            refuse_link(path)
        except RunError as error:
            why = str(error).removeprefix(f"{path} ")
            raise RunError(f"{path} cannot be locked, because it {why}") from error
        # With `on_acquired`, filelock never falls back to a mere marker file, which a killed
        # process would leave behind.
        self._lock = FileLock(path, thread_local=False, on_acquired=_write_pid)
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise RunError(
                f"{path.parent} is in use by process {_holder(path)}; wait for it, "
                "or give another --run-dir."
            ) from error
        except OSError as error:
            if error.errno in _MACHINE:
                raise
            raise RunError(
                f"{path} cannot be locked ({error}): the file system has no file locks, as some "
                "network drives; give a --run-dir on another file system, or copy the run to one."
            ) from error

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others in."""
        self._lock.release()


def _write_pid(descriptor: int) -> None:
    # An earlier holder's longer pid may stand there.
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, str(os.getpid()).encode())


def _holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:32].strip() or "unknown"
    except OSError:  # Windows lets nobody read a locked file
        return "unknown"
