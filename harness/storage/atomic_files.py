"""Files that are whole or absent: write, fsync, rename. Logs that can be cut back to a length."""

import errno
import json
import math
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from harness.errors import RunError
from harness.storage.checksum import Checksum, GrowingChecksum
from harness.storage.own_files import open_own
from harness.storage.sizes import LARGEST_FILE, mebibytes
from harness.types import JSON

_NO_WAIT = 0 if os.name == "nt" else os.O_NONBLOCK


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old text or the new, never half.

    Raises:
        RunError: It is larger than what is read back.
    """
    data = text.encode("utf-8")
    _require_size(path, len(data))
    # Beside the file, because a rename is one step within a file system only.
    part = path.with_name(f".{path.name}.part")
    # Made anew: what a killed process left under that name may be anything, a link too.
    part.unlink(missing_ok=True)
    with part.open("xb") as file:
        file.write(data)
        file.flush()
        # On disk before the rename: a power cut could otherwise leave the name on an empty file.
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, value: JSON) -> None:
    """Replace a JSON file in one step; lone surrogates are written as JSON's own escapes."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"))


def read_json(path: Path, advice: str = "restore it or start a new run.") -> Mapping[str, JSON]:
    """Read a JSON object; anything else is a damaged run, and `advice` says what to do."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise RunError(f"{path} is no regular file: {advice}")
    try:
        value = _parsed(read_file(path))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error}): {advice}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} should hold a JSON object: {advice}")
    return value


def read_file(path: Path) -> bytes:
    """The content of a regular file of a size that is read.

    Raises:
        OSError: It is missing, unreadable, a folder, a pipe or a device.
        ValueError: It is larger.
    """
    # Without waiting, as opening a named pipe would otherwise block for ever.
    descriptor = os.open(path, os.O_RDONLY | _NO_WAIT)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        if found.st_size > LARGEST_FILE:
            raise ValueError(f"it is larger than {mebibytes(LARGEST_FILE)}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _parsed(data: bytes) -> Any:
    """JSON whose numbers are finite; raises ValueError or RecursionError for anything else."""
    value = json.loads(data, parse_constant=_refused)
    _require_finite(value)  # 1e999 is read as infinity
    return value


def _refused(name: str) -> NoReturn:
    raise ValueError(f"it holds the number {name}")


def _require_finite(value: Any) -> None:
    if isinstance(value, dict):
        for item in value.values():
            _require_finite(item)
    elif isinstance(value, list):
        for item in value:
            _require_finite(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it holds a number that is not finite")


def _require_size(path: Path, size: int) -> None:
    if size > LARGEST_FILE:
        raise RunError(
            f"{path} would get {mebibytes(size)} at once, and no more than "
            f"{mebibytes(LARGEST_FILE)} can be read back; nothing was written."
        )


def publish(part: Path, folder: Path) -> None:
    """Turn a finished, unsynced folder into the real one in one step."""
    for path in part.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_folder(path)
    sync_folder(part)
    # A rename does not replace a folder that holds files.
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)
    sync_folder(folder.parent)


class Log:
    """Append-only JSON lines; a torn last line is cut away when the log is opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Unbuffered: on a full disk nothing is kept back that closing would have to write.
        self._file = open_own(path, "ab")
        self._checksum = GrowingChecksum(path)

    def append(self, value: JSON) -> None:
        """Write one line at once, so that a reader never waits for it.

        Raises:
            RunError: It is longer than what is read back.
        """
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        # Completions may hold lone surrogates, which UTF-8 lacks; `\udXXX` is JSON's own escape.
        line = text.encode("utf-8", "backslashreplace") + b"\n"
        _require_size(self.path, len(line))
        while line:  # a disk that fills up takes a part, and then none
            line = line[self._file.write(line) :]

    def sync(self) -> int:
        """Force what was written to disk; returns the log's length in bytes."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def checksum(self) -> Checksum:
        """Size and SHA-256 of all that was written."""
        return self._checksum.upto(self._file.tell())

    def cut(self, length: int) -> None:
        """Remove everything after `length` bytes."""
        if self._file.tell() < length:
            raise RunError(
                f"{self.path} is shorter than its checkpoint says; the run cannot be resumed, "
                "start a new one."
            )
        self._file.truncate(length)
        # Appends go to the end anyway, but `tell` would still name the old place.
        self._file.seek(length)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def lines(path: Path) -> Iterator[tuple[int, Mapping[str, JSON]]]:
    """Whole lines of a log with the offset at which each ends; stops at a torn or damaged one.

    A path that is no regular file, such as a link to a device, has none.
    """
    for end, value in every_line(path):
        if value is None:
            return
        yield end, value


def whole_lines(path: Path) -> Iterator[Mapping[str, JSON]]:
    """The lines of a log of somebody else's; a torn last one is left out.

    Raises:
        RunError: A line before it is damaged; its number is named.
    """
    for number, (_, value) in enumerate(every_line(path), 1):
        if value is None:
            raise RunError(f"{path}, line {number}, holds no JSON object of finite numbers.")
        yield value


def every_line(path: Path) -> Iterator[tuple[int, Mapping[str, JSON] | None]]:
    """Like `lines`, but goes on after a damaged line, which is None; ends before a torn one."""
    end = 0
    if not path.is_file():
        return
    with path.open("rb") as file:
        while (raw := file.readline(LARGEST_FILE + 1)).endswith(b"\n"):
            end += len(raw)
            try:
                value = _parsed(raw)
            except (ValueError, RecursionError):
                value = None
            yield end, value if isinstance(value, dict) else None
