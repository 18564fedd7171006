"""The checkpoint of a run: written whole, and read back whole or refused.

    checkpoint/state.json     iteration, usage, lengths of the logs, state of the method
    checkpoint/policy/        weights and optimizer, once weights were trained
    checkpoint/manifest.json  sizes and checksums of all of it; see `manifest`

Checkpoints of earlier versions have no manifest. They are read as before, with a note.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from harness.budget import Usage
from harness.errors import ModelError, RunError
from harness.storage.atomic_files import lines, publish, sync_folder, write_json
from harness.storage.checkpoint_state import LOGS, SCHEMA, CheckpointState, read_state
from harness.storage.checksum import Checksum, checksum
from harness.storage.manifest import NAME as MANIFEST
from harness.storage.manifest import (
    Manifest,
    check_files,
    check_nothing_else,
    read_manifest,
    write_manifest,
)
from harness.types import JSON

NAME = "checkpoint"
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""Errors of code that reads what a damaged or edited file holds."""
_COUNTED_ON = ("identity.json",)
"""Files beside the checkpoint that never change once they are written."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was read and compared with its manifest; earlier versions wrote none."""

    state: CheckpointState
    manifest: Manifest | None
    weights: Path | None
    """The folder of weights and optimizer; None where nothing was trained."""


class LoadsWeights(Protocol):
    """A policy whose weights can be loaded from a folder."""

    @property
    def version(self) -> int:
        """Updates that the weights have seen."""
        ...

    def load(self, folder: Path) -> None:
        """Load the weights."""
        ...


def advice(folder: Path) -> str:
    """A clause on what to do about a damaged run directory."""
    return (
        "restore it from a copy, or start anew with harness run "
        f"--config {folder}/config.toml --run-dir NEW."
    )


def finish_swap(folder: Path) -> None:
    """Put the older checkpoint back if a process was killed between the two renames."""
    new, old = folder / NAME, folder / "checkpoint.old"
    if old.exists() and not new.exists():
        old.rename(new)
        sync_folder(folder)


def write_checkpoint(
    folder: Path,
    round: int,
    method: Mapping[str, JSON],
    spent: Usage,
    logs: Mapping[str, Checksum],
    policy_version: int,
    save: Callable[[Path], None],
    seal: Mapping[str, JSON] | None = None,
) -> None:
    """Make this the run's checkpoint in one step; `save` writes the weights, if version > 0.

    `seal` are the settings that the run is held to, of which the checkpoint keeps a copy.

    The logs must be on disk up to the lengths that are named here.
    """
    part, new, old = folder / "checkpoint.part", folder / NAME, folder / "checkpoint.old"
    # Left by a process that was killed while writing it.
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    if policy_version > 0:
        (part / "policy").mkdir()
        save(part / "policy")
    state: Mapping[str, JSON] = {
        "schema": SCHEMA,
        "round": round,
        "method": method,
        "spent": asdict(spent),
        "logs": {name: found.bytes for name, found in logs.items()},
        "manifest": True,
        **({"seal": seal} if seal else {}),
    }
    write_json(part / "state.json", state)
    beside = {f"{name}.jsonl": found for name, found in logs.items()}
    beside |= {n: checksum(folder / n) for n in _COUNTED_ON if (folder / n).exists()}
    write_manifest(part, policy_version, beside)
    # Two renames: between them only `checkpoint.old` exists, which the next start puts back.
    if new.exists():
        remove_older(folder)
        new.rename(old)
    publish(part, new)
    remove_older(folder)


def remove_older(folder: Path) -> None:
    """Remove the checkpoint before the present one, which a killed process may have left."""
    old = folder / "checkpoint.old"
    if old.exists():
        shutil.rmtree(old)


def read_checkpoint(folder: Path, quick: bool = False) -> Checkpoint | None:
    """The checkpoint of the run in `folder`; None for a run that has none yet.

    Everything that it counts on is compared with its manifest; with `quick`, large files by their
    sizes alone.

    Raises:
        RunError: Something is missing, damaged, changed or of another version; it is named.
    """
    place, then = folder / NAME, advice(folder)
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        kind = "a link" if place.is_symlink() else "a file"
        raise RunError(f"{place} is {kind}, but a checkpoint is a folder of its run: {then}")
    if not place.exists():
        _check_never_began(folder, then)
        return None
    state = read_state(place, then)
    weights = place / "policy"
    if not (state.has_manifest or (place / MANIFEST).exists()):
        # Each gradient step is an update of the weights, and those are in every later checkpoint.
        if state.spent.gradient_steps and not weights.exists():
            raise RunError(
                f"{weights} is missing, though {state.spent.gradient_steps} gradient steps were "
                f"taken: {then}"
            )
        _check_logs(folder, state, then)
        return Checkpoint(state, None, weights if weights.exists() else None)
    found = read_manifest(place, then)
    check_files(place, found.files, then, whole=True, quick=quick)
    check_nothing_else(place, found.files, then)
    check_files(folder, found.run, then, whole=False, quick=quick)
    return Checkpoint(state, found, weights if found.policy_version else None)


def load_weights(policy: LoadsWeights, folder: Path, found: Checkpoint | None = None) -> None:
    """Load the weights of the checkpoint in `folder`, which is read if it is not given.

    Raises:
        RunError: It is not whole, has none, or they are not of the version that it names.
        ModelError: They are another model's, or cannot be read.
    """
    place, then = folder / NAME / "policy", advice(folder)
    found = found or read_checkpoint(folder)
    if found is None or found.weights is None:
        raise RunError(f"{place} is missing, so the trained weights cannot be loaded: {then}")
    try:
        policy.load(found.weights)
    except ModelError as error:
        raise ModelError(f"{place}: {error}") from error
    except (FileNotFoundError, *UNREADABLE) as error:
        raise RunError(
            f"{place} holds no weights of this model ({type(error).__name__}: {error}): {then}"
        ) from error
    if found.manifest is not None and policy.version != found.manifest.policy_version:
        raise RunError(
            f"{place} holds weights of version {policy.version}, but the checkpoint was written at "
            f"version {found.manifest.policy_version}: {then}"
        )


def _check_logs(folder: Path, state: CheckpointState, then: str) -> None:
    """Refuse logs that are damaged before the end that a checkpoint without checksums names."""
    for name in LOGS:
        path, length = folder / f"{name}.jsonl", state.logs[name]
        size = path.stat().st_size if path.is_file() else 0
        if size < length:
            raise RunError(f"{path} is shorter than its checkpoint says ({size:,} bytes): {then}")
        whole, last = 0, -1
        for end, line in lines(path):
            if end > length:
                break
            whole, last = end, line.get("round", last) if isinstance(line, dict) else last
        if whole < length:
            raise RunError(f"{path} has no whole line after {whole:,} bytes: {then}")
        if name == "rounds" and last != state.round - 1:
            raise RunError(
                f"{folder / NAME}/state.json is of iteration {str(state.round)[:20]}, but {path} "
                f"ends with another: {then}"
            )


def _check_never_began(folder: Path, then: str) -> None:
    """Refuse a run whose logs say that it once had a checkpoint."""
    last = {n: _last_round(folder / f"{n}.jsonl") for n in LOGS}
    # The first iteration is logged before its checkpoint is written, and before the evaluation.
    allowed = -1 if (folder / "opening.json").exists() else 0
    for name, round in last.items():
        if round > allowed:
            raise RunError(
                f"{folder / NAME} is missing, though {name}.jsonl tells of iteration {round + 1}: "
                f"{then}"
            )


def _last_round(log: Path) -> int:
    """The last iteration that a log names; −1 where it names none."""
    named = (line.get("round") for _, line in lines(log) if isinstance(line, dict))
    return max((n for n in named if isinstance(n, int)), default=-1)
