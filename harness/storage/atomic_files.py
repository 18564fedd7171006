"""Files that are whole or absent: write, fsync, rename. Logs that can be cut back to a length."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.errors import RunError
from harness.storage.checksum import Checksum, GrowingChecksum
from harness.storage.own_files import open_own
from harness.types import JSON


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old text or the new, never half."""
    # Beside the file, because a rename is one step within a file system only.
    part = path.with_name(f".{path.name}.part")
    # Made anew: what a killed process left under that name may be anything, a link too.
    part.unlink(missing_ok=True)
    with part.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # On disk before the rename: a power cut could otherwise leave the name on an empty file.
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, value: JSON) -> None:
    """Replace a JSON file in one step."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, advice: str = "restore it or start a new run.") -> Mapping[str, JSON]:
    """Read a JSON object; anything else is a damaged run, and `advice` says what to do."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error}): {advice}") from error
    if not isinstance(value, dict):
        raise RunError(f"{path} should hold a JSON object: {advice}")
    return value


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
        """Write one line at once, so that a reader never waits for it."""
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        # Completions may hold lone surrogates, which UTF-8 lacks; `\udXXX` is JSON's own escape.
        line = text.encode("utf-8", "backslashreplace") + b"\n"
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


def every_line(path: Path) -> Iterator[tuple[int, Mapping[str, JSON] | None]]:
    """Like `lines`, but goes on after a damaged line, which is None; ends before a torn one."""
    end = 0
    if not path.is_file():
        return
    with path.open("rb") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            end += len(raw)
            try:
                value = json.loads(raw)
            except (ValueError, RecursionError):
                value = None
            yield end, value if isinstance(value, dict) else None
