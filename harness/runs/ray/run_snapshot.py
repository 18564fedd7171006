"""A run directory as bytes, to be sent to another machine and back.

A snapshot is installed so that a reader, or a process killed half-way, always finds a run that
can be resumed: logs first (a log longer than its checkpoint says is cut back), then the checkpoint
in one step, the entry last.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from harness.errors import RunError
from harness.storage.atomic_files import publish, sync_folder

Snapshot = Mapping[str, bytes]
"""Files of a run directory by their path in it."""

_LEFT_OUT = ("run.lock", "start.lock", "checkpoint.part", "checkpoint.old")
_LAST = ("opening.json", "champion.json", "champion.txt", "entry.json")


def take(folder: Path) -> Snapshot:
    """All of a run directory but what belongs to the process that holds it."""
    if (folder / "checkpoint.old").exists() and not (folder / "checkpoint").exists():
        (folder / "checkpoint.old").rename(folder / "checkpoint")  # killed between two renames
    return dict(_files(folder))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        left = inner.parts[0] in _LEFT_OUT or any(part.startswith(".") for part in inner.parts)
        if path.is_file() and not path.is_symlink() and not left:
            yield inner.as_posix(), path.read_bytes()


def install(snapshot: Snapshot, folder: Path) -> None:
    """Make `folder` what the snapshot says; files that it does not name stay.

    Raises:
        RunError: It names a file outside of the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in snapshot:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts:
            raise RunError(f"A save names the file {name!r}, outside of {folder}; it is refused.")
    saved = [name for name in snapshot if name.startswith("checkpoint/")]
    first = [name for name in snapshot if name not in saved and name not in _LAST]
    for name in first:
        _write(folder / name, snapshot[name])
    if saved:
        part, old = folder / "checkpoint.part", folder / "checkpoint.old"
        shutil.rmtree(part, ignore_errors=True)
        for name in saved:
            path = part / PurePosixPath(name).relative_to("checkpoint")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(snapshot[name])
        # As a run itself swaps it: between two renames only `checkpoint.old` is there.
        if (folder / "checkpoint").exists():
            shutil.rmtree(old, ignore_errors=True)
            (folder / "checkpoint").rename(old)
        publish(part, folder / "checkpoint")
        shutil.rmtree(old, ignore_errors=True)
    for name in _LAST:
        if name in snapshot:
            _write(folder / name, snapshot[name])
    sync_folder(folder)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)
