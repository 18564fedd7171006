"""Entries on disk: atomic writes, search by folder; invalid files are named and skipped."""

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from leaderboards.records.entry import Entry
from leaderboards.records.strict_json import RecordError

LARGEST = 1 << 28  # bytes; an entry with completions of 400 × 15,000 tokens is a tenth of it


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
            would not be read back.
    """
    path = Path(path)
    text = entry.to_json().encode("ascii")
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
    path = Path(path)
    try:
        if not path.is_file():
            raise RecordError("is not a file", source=str(path))
        if path.stat().st_size > LARGEST:
            raise RecordError(f"is larger than {LARGEST >> 20} MiB", source=str(path))
        text = path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot be read ({error.strerror})", source=str(path)) from None
    return Entry.from_json(text, str(path))


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
