"""The manifest of a checkpoint: size and SHA-256 of every file that a resumed run counts on.

    {"schema": 1, "policy_version": 2,
     "files": {"state.json": {"bytes": 812, "sha256": "…"}, …},    of the checkpoint, whole
     "run": {"rounds.jsonl": {"bytes": 4096, "sha256": "…"}, …},   beside it, their first bytes
     "sha256": "…"}                                                of all of this

Logs grow after the checkpoint, so that only what stood in them by then is compared.
"""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from harness.errors import RunError
from harness.storage.atomic_files import read_json, write_json
from harness.storage.checksum import Checksum, checksum
from harness.types import JSON

NAME = "manifest.json"
SCHEMA = 1
_SMALL = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as read: what the files of a checkpoint and of its run should be."""

    policy_version: int
    files: Mapping[str, Checksum]
    run: Mapping[str, Checksum]


def write_manifest(folder: Path, policy_version: int, run: Mapping[str, Checksum]) -> None:
    """Write the manifest of all files in `folder`; `run` holds those of the files beside it."""
    files = {p.relative_to(folder).as_posix(): checksum(p) for p in _files(folder)}
    body: dict[str, JSON] = {
        "schema": SCHEMA,
        "policy_version": policy_version,
        "files": {name: asdict(found) for name, found in sorted(files.items())},
        "run": {name: asdict(found) for name, found in sorted(run.items())},
    }
    write_json(folder / NAME, {**body, "sha256": _own_checksum(body)})


def read_manifest(folder: Path, advice: str) -> Manifest:
    """The manifest in the folder of a checkpoint.

    Raises:
        RunError: It is missing or damaged; ends with `advice`.
    """
    path = folder / NAME
    _size(path, advice)  # it is there, and a file
    body = dict(read_json(path, advice))
    own = body.pop("sha256", None)
    if body.get("schema") != SCHEMA and own == _own_checksum(body):
        raise RunError(
            f"{path} has schema {body.get('schema')}, this version reads {SCHEMA}; resume the run "
            "with the version that wrote it."
        )
    if own != _own_checksum(body):
        raise RunError(f"{path} is damaged (it is not what its own checksum says): {advice}")
    try:
        files, run = (
            {file: Checksum(**found) for file, found in cast(Any, body[name]).items()}
            for name in ("files", "run")
        )
        return Manifest(cast(int, body["policy_version"]), files, run)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is no manifest of this version ({error}): {advice}") from error


def check_files(
    folder: Path, expected: Mapping[str, Checksum], advice: str, *, whole: bool, quick: bool
) -> None:
    """Compare files with what they should be; with `quick`, large ones by their sizes alone.

    Files that are not `whole` may have grown.

    Raises:
        RunError: One is missing, another kind of file, too short, too long, or changed.
    """
    for name, right in expected.items():
        path = folder / name
        size = _size(path, advice)
        if size < right.bytes:
            raise RunError(
                f"{path} is shorter than its checkpoint says ({size:,} of {right.bytes:,} bytes): "
                f"{advice}"
            )
        if whole and size > right.bytes:
            raise RunError(
                f"{path} is longer than its checkpoint says ({size:,} instead of {right.bytes:,} "
                f"bytes): {advice}"
            )
        if quick and right.bytes > _SMALL:
            continue
        if checksum(path, right.bytes) != right:
            raise RunError(
                f"{path} was changed after the checkpoint was written (its SHA-256 is another): "
                f"{advice}"
            )


def check_nothing_else(folder: Path, expected: Mapping[str, Checksum], advice: str) -> None:
    """Refuse files in a checkpoint that are not its own; hidden ones, as of a desktop, may stay.

    Raises:
        RunError: There is one.
    """
    for path in _files(folder):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if not hidden and name.as_posix() not in (*expected, NAME):
            raise RunError(
                f"{path} is no file of this checkpoint: move it away, or {advice[0].lower()}"
                f"{advice[1:]}"
            )


def _size(path: Path, advice: str) -> int:
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(f"{path} is missing, but the checkpoint counts on it: {advice}") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no regular file"
        raise RunError(f"{path} is {kind}, but the checkpoint counts on a file: {advice}")
    return found.st_size


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())


def _own_checksum(body: Mapping[str, JSON]) -> str:
    text = json.dumps(body, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
