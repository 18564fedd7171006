"""Run directories: found in a folder, laid out for new requests."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

from harness.errors import RunError, UsageError
from harness.runs.history.settings_diff import began
from harness.runs.request import write_request
from harness.settings.config import Config
from harness.storage.atomic_files import write_text
from harness.storage.lock import Lock

START = "start.lock"
"""The lock of a start: from laying the folder out to the end of the command."""
_LOCKS = (START, "run.lock")
_UNFINISHED = "start.unfinished"  # several requests are being written
_HELD: dict[Path, Lock] = {}


def existing(folder: Path) -> list[Path]:
    """The runs in a folder, which must exist."""
    if (folder / _UNFINISHED).exists():
        raise UsageError(
            f"{folder} was not laid out to the end; type its harness run command again."
        )
    run_dirs = runs_in(folder) if folder.is_dir() else []
    if not run_dirs:
        near = sorted(str(p) for p in Path("runs").glob("*") if p.is_dir())[-5:]
        known = f" Latest: {', '.join(near)}." if near else ""
        raise UsageError(f"{folder} holds no run (no config.toml in it or below).{known}")
    return run_dirs


def latest(folder: Path = Path("runs")) -> Path:
    """The run or experiment in a folder that was begun or continued last.

    Raises:
        UsageError: There is none.
    """
    dated = [
        (max(run_dir.stat().st_mtime for run_dir in found), path)
        for path in folder.glob("*")
        if path.is_dir() and not path.name.startswith(".") and (found := runs_in(path))
    ]
    if not dated:
        raise UsageError(f"There is no run in {folder}/ yet; type harness run, or name a run.")
    return max(dated)[1]


def runs_in(folder: Path) -> list[Path]:
    """The run directories of an experiment, or the folder itself if it is one."""
    if (folder / "config.toml").exists():
        return [folder]
    return sorted(path.parent for path in folder.glob("*/config.toml"))


@contextmanager
def laid_out(requests: Sequence[Config], folder: Path) -> Iterator[list[Path]]:
    """The run directories of new requests, which no other start is given before the end."""
    run_dirs = lay_out(requests, folder)
    try:
        yield run_dirs
    finally:
        let_go(folder)


def lay_out(requests: Sequence[Config], folder: Path) -> list[Path]:
    """Write every request down, all at once or not at all; refuses a folder where runs began.

    Runs that never began (their model could not be opened, say) are laid out anew. The folder is
    locked until `let_go` or the end of the process, so that of several starts one wins.

    Raises:
        UsageError: The folder holds something else, or a run that began.
        RunError: Another start uses it, or it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give another --run-dir.")
    try:
        names = {path.name for path in folder.iterdir()} if folder.exists() else set()
        # Only a folder of ours, or an empty one, is locked: nothing is left in anybody else's.
        if names and START not in names:
            _check_free(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder / START)
        try:
            run_dirs = _write_all(requests, folder)
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written ({error.strerror}); give another --run-dir."
        ) from error
    _HELD[folder.resolve()] = lock
    return run_dirs


def let_go(folder: Path) -> None:
    """Let other starts use a folder that was laid out by this process."""
    if lock := _HELD.pop(folder.resolve(), None):
        lock.release()


def _check_free(folder: Path) -> None:
    """Refuse a folder where runs began, or that holds other files."""
    there = runs_in(folder)
    if any(map(began, there)):
        raise UsageError(
            f"{folder} already holds a run; type harness resume {folder}, "
            "or give another --run-dir."
        )
    if not there and not (folder / _UNFINISHED).exists() and any(map(_foreign, folder.iterdir())):
        raise UsageError(f"{folder} holds other files; give another --run-dir.")


def _foreign(path: Path) -> bool:
    """True for what no start left behind: locks, and folders with nothing but locks."""
    if path.is_dir() and not path.is_symlink():
        return any(inner.name not in _LOCKS for inner in path.iterdir())
    return path.name not in (*_LOCKS, ".config.toml.part")


def _write_all(requests: Sequence[Config], folder: Path) -> list[Path]:
    """Write the requests into a folder whose lock is held."""
    with ExitStack() as locks:
        for run_dir in runs_in(folder):
            # Refused while another process goes on with it; locked files are never replaced.
            locks.enter_context(Lock(run_dir / "run.lock"))
        _check_free(folder)
        single = len(requests) == 1
        names = ["" if single else f"{r.method}-seed{r.run.seed}" for r in requests]
        if not single:
            write_text(folder / _UNFINISHED, "")
        for run_dir in runs_in(folder):
            _clear(run_dir)
        for request, name in zip(requests, names, strict=True):
            write_request(request, folder / name)
        (folder / _UNFINISHED).unlink(missing_ok=True)
    return [folder / name for name in names]


def _clear(run_dir: Path) -> None:
    """Remove a run that never began, but for its locks, which other processes may wait for."""
    for path in run_dir.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (*_LOCKS, _UNFINISHED):
            path.unlink()


def new_folder(name: str) -> Path:
    """A new, empty folder in runs/, which no other process is given even in the same second.

    Raises:
        RunError: It cannot be made.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    stem = Path("runs") / f"{stamp}-{safe}"
    tries = (stem if n == 1 else stem.with_name(f"{stem.name}-{n}") for n in count(1))
    try:
        stem.parent.mkdir(exist_ok=True)
        return next(folder for folder in tries if _made(folder))
    except OSError as error:
        raise RunError(
            f"{stem} cannot be written ({error.strerror}); give another --run-dir."
        ) from error


def _made(folder: Path) -> bool:
    """True if this process made the folder."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True
