"""Run directories: found in a folder, laid out for new requests."""

import shutil
from collections.abc import Sequence
from datetime import datetime
from itertools import count
from pathlib import Path

from harness.errors import RunError, UsageError
from harness.runs.request import write_request
from harness.settings.config import Config
from harness.storage.lock import Lock


def existing(folder: Path) -> list[Path]:
    """The runs in a folder, which must exist."""
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


def _began(run_dir: Path) -> bool:
    """True for a run that has come further than its request."""
    logs = (run_dir / "episodes.jsonl", run_dir / "test.jsonl")
    done = (run_dir / "checkpoint", run_dir / "entry.json", run_dir / "opening.json")
    return any(p.exists() for p in done) or any(p.exists() and p.stat().st_size for p in logs)


def lay_out(requests: Sequence[Config], folder: Path) -> list[Path]:
    """Write every request down, all at once or not at all; refuses a folder where runs began.

    Runs that never began (their model could not be opened, say) are laid out anew.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give another --run-dir.")
    there = runs_in(folder) if folder.exists() else []
    if any(map(_began, there)):
        raise UsageError(
            f"{folder} already holds a run; type harness resume {folder}, "
            "or give another --run-dir."
        )
    if folder.exists() and not there and any(folder.iterdir()):
        raise UsageError(f"{folder} holds other files; give another --run-dir.")
    for run_dir in there:
        Lock(run_dir / "run.lock").release()  # refused while another process is about to begin
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        single = len(requests) == 1
        names = ["" if single else f"{r.method}-seed{r.run.seed}" for r in requests]
        for request, name in zip(requests, names, strict=True):
            write_request(request, part / name)
        if there:
            shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)  # over an empty folder, but not over what another process laid out
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written ({error.strerror}); give another --run-dir."
        ) from error
    return [folder / name for name in names]


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
