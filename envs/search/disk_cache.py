"""Things that take long to make and can be made again, kept on disk: a shelf of folders.

A folder is written beside its place and renamed into it, with a manifest of its files' hashes, so
that a reader sees all of it or none. Damage is found by the manifest and the folder made anew. One
process makes a folder while others wait; the kernel ends the wait when that process dies.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from envs.errors import EnvError

_MANIFEST = "manifest.json"


def shelf_folder() -> Path:
    """Where indexes are kept; deleting it costs only the time to make them again."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "espl-harness" / "indexes"


def kept_folder(key: str, write: Callable[[Path], None]) -> Path:
    """The folder kept under `key`, a plain file name; made by `write(empty folder)` where it is
    missing or damaged.

    Raises WorldError where the shelf cannot be written.
    """
    shelf = shelf_folder()
    place = shelf / key
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        with _alone(shelf / f"{key}.lock"):
            if not _sound(place):
                _make(place, write)
    except OSError as error:
        raise EnvError(
            f"The search index cannot be kept in {shelf} ({error}); free some space, or set"
            " XDG_CACHE_HOME to a folder that can be written."
        ) from error
    return place


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(place: Path, write: Callable[[Path], None]) -> None:
    for left in place.parent.glob(f"{place.name}.making-*"):
        shutil.rmtree(left)  # by a process that died; the lock says nobody is at work
    making = Path(tempfile.mkdtemp(prefix=f"{place.name}.making-", dir=place.parent))
    write(making)
    hashes = {path.name: _hash(path) for path in sorted(making.iterdir())}
    (making / _MANIFEST).write_text(json.dumps(hashes), encoding="utf-8")
    if place.is_dir():
        shutil.rmtree(place)  # damaged; whoever has its files open keeps them
    else:
        place.unlink(missing_ok=True)
    os.rename(making, place)


def _sound(place: Path) -> bool:
    try:
        hashes = json.loads((place / _MANIFEST).read_text(encoding="utf-8"))
        return bool(hashes) and all(_hash(place / name) == h for name, h in hashes.items())
    except (FileNotFoundError, NotADirectoryError, ValueError, AttributeError):
        return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
