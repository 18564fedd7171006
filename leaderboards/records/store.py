"""Entries on disk: atomic writes, search by folder; invalid files are named and skipped."""

import errno
import gc
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from leaderboards.records.entry import Entry
from leaderboards.records.strict_json import RecordError

LARGEST = 1 << 28  # bytes; an entry with completions of 400 × 15,000 tokens is a tenth of it
_NO_WAIT = 0 if os.name == "nt" else os.O_NONBLOCK
MOST_VALUES = 5_000_000  # an outcome has seven; a file with more could fill the memory
_LOOKED_INTO = 1 << 22  # bytes, from which on values are counted before a file is parsed
# A string that does not end reaches to the end of the text, so that no byte is looked at twice.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry and the file it was read from."""

    path: Path
    entry: Entry


@dataclass(frozen=True, slots=True)
class FoundEntries:
    """Entries found; `problems` has one sentence for each file that is not an entry."""

    stored: tuple[Stored, ...]
    problems: tuple[str, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The valid entries, in the order of their paths."""
        return tuple(s.entry for s in self.stored)


def write_entry(path: Path | str, entry: Entry) -> Path:
    """Write an entry atomically: the file is complete or absent, even after a power failure.

    Writing the same entry again does nothing. A run owns its path: two processes that write
    different entries to one new path at the same time are not detected.

    Raises:
        RecordError: if the file exists with other content, or if the entry holds values that
            would not be read back, or is larger than what is read.
    """
    path = Path(path)
    text = entry.to_json().encode("ascii")
    if len(text) > LARGEST:
        problem = f"would get {len(text):,} bytes, and entries of at most {LARGEST:,} are read"
        raise RecordError(f"{problem}; nothing was written", source=str(path))
    Entry.from_json(text, str(path))
    if path.exists():
        if path.read_bytes() == text:
            return path
        problem = "already exists and holds something else; entries are never overwritten"
        raise RecordError(f"{problem}, so choose another name or remove it", source=str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    return path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: it has its old or its new content, even after a power failure."""
    # The process is in the name, so that two writers never share a draft.
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Made anew: a draft of a killed process with this number may be anything, a link too.
        draft.unlink(missing_ok=True)
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            # Before the rename: after a power failure the new name could otherwise have no content.
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync(path.parent)


def clear_drafts(path: Path) -> None:
    """Remove temporary files of killed writers of `path`; only for the one owner of the path."""
    for draft in path.parent.glob(f".{path.name}.*.tmp"):
        draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Make a rename durable; Windows cannot open folders and is skipped."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_entry(path: Path | str) -> Entry:
    """Read one entry.

    Raises:
        RecordError: if it cannot be read, or is not an entry; names file and field.
    """
    text = read_bytes(path)
    if len(text) > _LOOKED_INTO and values_in(text) > MOST_VALUES:
        problem = f"holds more than {MOST_VALUES:,} values, which no run has written"
        raise RecordError(problem, source=str(path))
    try:
        return Entry.from_json(text, str(path))
    except MemoryError:
        raise RecordError("does not fit into memory", source=str(path)) from None


def read_bytes(path: Path | str) -> bytes:
    """The content of a regular file of at most LARGEST bytes.

    Raises:
        RecordError: if it is missing, unreadable, larger, or a folder, pipe or device.
    """
    try:
        # Without waiting, as opening a named pipe would otherwise block for ever.
        handle = os.open(path, os.O_RDONLY | _NO_WAIT)
    except OSError as error:
        absent = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        problem = "is not a file" if absent else f"cannot be read ({error.strerror})"
        raise RecordError(problem, source=str(path)) from None
    except ValueError:
        raise RecordError("cannot be read (a null character)", source=str(path)) from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise RecordError("is not a file", source=str(path))
        if found.st_size > LARGEST:
            raise RecordError(f"is larger than {LARGEST >> 20} MiB", source=str(path))
        with open(handle, "rb", closefd=False) as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise RecordError(f"cannot be read ({error.strerror})", source=str(path)) from None
    finally:
        os.close(handle)


def read_text(path: Path | str) -> str:
    """The text of a UTF-8 file; raises RecordError as `read_bytes` does, or if it is none."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(f"is no UTF-8 text ({error.reason})", source=str(path)) from None


def values_in(text: bytes) -> int:
    """The number of values in a JSON text, at most, found without building them.

    A file within the size limit can hold so many empty objects that they fill a machine's memory.
    """
    bare = _STRING.sub(b"", text)
    return bare.count(b",") + bare.count(b"[") + bare.count(b"{")


def find_entries(paths: Iterable[Path | str]) -> FoundEntries:
    """Read all entries in files and, recursively, folders: `entry.json` and `*.entry.json`."""
    stored: list[Stored] = []
    problems: list[str] = []
    files = (file for given in paths for file in entry_files(Path(given), problems))
    with gc_paused():
        # A file may be given twice, by its own name and by its folder's.
        for path in dict.fromkeys(files):
            try:
                stored.append(Stored(path, read_entry(path)))
            except RecordError as error:
                problems.append(str(error))
    return FoundEntries(tuple(stored), tuple(problems))


@contextmanager
def gc_paused() -> Iterator[None]:
    """Pause garbage collection: records hold no cycles, and reading them is a quarter faster."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def entry_files(given: Path, problems: list[str]) -> Iterator[Path]:
    """The entry files in a folder, by name; a path that is a file is taken as it is."""

    def report(error: OSError) -> None:
        problems.append(f"{error.filename}: cannot be opened ({error.strerror}).")

    if not given.is_dir():
        yield given
        return
    for folder, below, names in os.walk(given, onerror=report):
        # In place, because os.walk goes through the folders in the order of this very list.
        below.sort()
        for name in sorted(names):
            if name == "entry.json" or name.endswith(".entry.json"):
                yield Path(folder, name)
