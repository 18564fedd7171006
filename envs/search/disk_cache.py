"""A cache on disk for what takes long to make: one folder for each key.

A folder is written beside its place and renamed into it, with a manifest of its files' hashes, so
that a reader sees all of it or none. Damage is found by the manifest and the folder made anew. One
process makes a folder while others wait; the kernel ends the wait when that process dies.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from envs.errors import EnvError

_MANIFEST = "manifest.json"


def cache_root() -> Path:
    """The folder of indexes; deleting it costs only the time to make them again."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "espl-harness" / "indexes"


def cached_folder(key: str, write: Callable[[Path], None]) -> Path:
    """The folder kept under `key`, a plain file name; made by `write(empty folder)` where it is
    missing or damaged.

    Raises EnvError where the cache cannot be written.
    """
    root = cache_root()
    folder = root / key
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{key}.lock"):
            if not _intact(folder):
                _write_folder(folder, write)
    except OSError as error:
        raise EnvError(
            f"The search index cannot be kept in {root} ({error}); free some space, or set"
            " XDG_CACHE_HOME to a folder that can be written."
        ) from error
    return folder


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    for leftover in folder.parent.glob(f"{folder.name}.making-*"):
        shutil.rmtree(leftover)  # by a process that died; the lock says nobody is at work
    draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}.making-", dir=folder.parent))
    write(draft)
    hashes = {path.name: _hash(path) for path in sorted(draft.iterdir())}
    (draft / _MANIFEST).write_text(json.dumps(hashes), encoding="utf-8")
    if folder.is_dir():
        shutil.rmtree(folder)  # damaged; whoever has its files open keeps them
    else:
        folder.unlink(missing_ok=True)
    os.rename(draft, folder)


def _intact(folder: Path) -> bool:
    try:
        hashes = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return bool(hashes) and all(_hash(folder / name) == h for name, h in hashes.items())
    except (FileNotFoundError, NotADirectoryError, ValueError, AttributeError):
        return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
