"""Files of a run directory, opened only where they are its own: no links to files elsewhere.

A link in place of a log or a lock would let a run write into a file that is not its own. A hard
link does the same: what is written to it appears under the file's other names too.
"""

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, Literal

from harness.errors import RunError

_WRITTEN = re.compile(
    r"(config\.toml|(identity|opening|champion|entry|seal|test_checksum)\.json"
    r"|champion\.txt|(run|start)\.lock|stderr\.log|(unfinished_)?[a-z_]+\.jsonl|analysis-[^/]*|\.[^/]*\.(part|tmp))"
)
"""Names of the files that the harness writes into a run directory."""
_FOLDERS = ("checkpoint", "checkpoint.old", "checkpoint.part", "analyses")
_ADVICE = "remove it, restore the run's own file if it had one, and type the same command again."


def open_own(path: Path, mode: Literal["ab", "wb"]) -> BinaryIO:
    """Open a file of a run unbuffered, to append to it or to write it anew.

    Raises:
        RunError: It is a link, a hard link, or no regular file.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND * (mode == "ab") | _nofollow()
    # Not truncated yet, and without waiting for the reader of a pipe.
    flags |= 0 if os.name == "nt" else os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        refuse_link(path)
        if error.errno == errno.ENXIO:  # a pipe that nobody reads
            raise RunError(f"{path} is no regular file: {_ADVICE}") from error
        raise
    try:
        _refuse(path, os.fstat(descriptor))
        if mode == "wb":
            os.ftruncate(descriptor, 0)
        return os.fdopen(descriptor, mode, buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def refuse_link(path: Path) -> None:
    """Refuse a file that is a link, a hard link, or no regular file; an absent one is right.

    Raises:
        RunError: It is one; it is named.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return
    _refuse(path, found)


def refuse_links(run_dir: Path) -> None:
    """Refuse a run directory in which something that the harness writes to is a link.

    Raises:
        RunError: There is one; it is named.
    """
    for path in sorted(run_dir.iterdir()) if run_dir.is_dir() else ():
        if path.name in _FOLDERS:
            if path.is_symlink() or not path.is_dir():
                kind = "a link" if path.is_symlink() else "no folder"
                raise RunError(f"{path} is {kind}: {_ADVICE}")
            if path.name != "analyses":
                for inner in sorted(path.rglob("*")):
                    if inner.is_symlink() or not inner.is_dir():
                        refuse_link(inner)
        elif _WRITTEN.fullmatch(path.name):
            refuse_link(path)


def _refuse(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise RunError(f"{path} is a link to {os.readlink(path)}: {_ADVICE}")
    if not stat.S_ISREG(found.st_mode):
        raise RunError(f"{path} is no regular file: {_ADVICE}")
    if found.st_nlink > 1:
        raise RunError(
            f"{path} is a hard link, a file that has {found.st_nlink} names, so that writing to it "
            f"would change the others: {_ADVICE}"
        )


def _nofollow() -> int:
    return 0 if os.name == "nt" else os.O_NOFOLLOW
