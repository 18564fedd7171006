"""A list of this user's held-out evaluations, outside of their run directories.

A copy of a run directory, or a backup that is put back, knows nothing of an evaluation that another
copy has made. Every process that evaluates therefore adds a line here, under the identity of its
run; starts that a run directory does not have in its own log were made elsewhere.

The list is `espl-harness/evaluations.jsonl` in XDG_STATE_HOME, by default `~/.local/state`. It
holds random names and hashes only.
"""

import json
import os
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path

from harness.errors import HarnessError
from harness.storage.atomic_files import every_line, read_json
from harness.types import JSON

RUN_ID = "run"
"""Name of a run's random identity in its identity.json."""


def list_path() -> Path:
    """The path of the list.

    Raises:
        RuntimeError: This user has no home.
    """
    root = os.environ.get("XDG_STATE_HOME")
    state = Path(root) if root else Path.home() / ".local" / "state"
    return state / "espl-harness" / "evaluations.jsonl"


def add_start(folder: Path, start: str, own: Collection[str]) -> str:
    """Add a start of a run's evaluation; returns a note on what was evaluated elsewhere.

    `own` are the starts that the run directory knows of. The note is "" if there are no others.
    """
    keys = _identity(folder)
    try:
        path = list_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        known = [line for _, line in every_line(path) if line and _same_run(line, keys)]
        _append(path, {**keys, "start": start})
    except (OSError, RuntimeError) as error:
        return (
            "this machine keeps no list of evaluations "
            f"({error.strerror if isinstance(error, OSError) else 'no home'}), so it cannot be told"
            " whether another copy of this run was evaluated"
        )
    others = {str(line.get("start")) for line in known} - {*own, start}
    if not others:
        return ""
    return (
        f"test was also evaluated from a copy or an earlier state of this run directory "
        f"({len(others)} starts that are not in its own log)"
    )


def _identity(folder: Path) -> dict[str, JSON]:
    """Names of the run, which a copy shares: its random one, and the hash of its checkpoint."""
    keys: dict[str, JSON] = {}
    try:
        if isinstance(name := read_json(folder / "identity.json").get(RUN_ID), str):
            keys["run"] = name
    except HarnessError:
        pass  # an analysis in a folder of its own has none
    state = folder / "checkpoint" / "state.json"
    if state.is_file():
        keys["checkpoint"] = sha256(state.read_bytes()).hexdigest()
    return keys


def _same_run(line: Mapping[str, JSON], keys: Mapping[str, JSON]) -> bool:
    return any(line.get(name) == value for name, value in keys.items())


def _append(path: Path, line: Mapping[str, JSON]) -> None:
    """Add a line in one write, as other processes may do the same at this moment."""
    with path.open("ab+", buffering=0) as file:
        # A torn last line, left by a full disk or a power cut, is ended first.
        torn = file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        file.write(b"\n" * bool(torn) + json.dumps(line).encode() + b"\n")
        os.fsync(file.fileno())
