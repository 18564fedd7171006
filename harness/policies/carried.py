"""Weights as bytes: what a policy's `save` wrote, to be carried to another process or kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.policies.base import TrainablePolicy

Weights = Mapping[str, bytes]
"""Files by name."""


@runtime_checkable
class SavesLess(Protocol):
    """A policy that can leave out what only a learner needs."""

    def save_for_sampling(self, folder: Path) -> None:
        """Write what `load` needs to sample; such a copy does not learn."""
        ...


def saved(policy: TrainablePolicy) -> Weights:
    """All that a policy saves."""
    with tempfile.TemporaryDirectory(prefix="harness-weights-") as folder:
        policy.save(Path(folder))
        return read_files(Path(folder))


def saved_for_sampling(policy: TrainablePolicy) -> Weights:
    """What a sampler needs of it: all, where a policy does not say that less will do."""
    if not isinstance(policy, SavesLess):
        return saved(policy)
    with tempfile.TemporaryDirectory(prefix="harness-weights-") as folder:
        policy.save_for_sampling(Path(folder))
        return read_files(Path(folder))


def load_from(policy: TrainablePolicy, weights: Weights) -> None:
    """Have a policy load them."""
    with tempfile.TemporaryDirectory(prefix="harness-weights-") as folder:
        write_files(weights, Path(folder))
        policy.load(Path(folder))


def read_files(folder: Path) -> Weights:
    """The files of a folder, without those of folders in it."""
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


def write_files(weights: Weights, folder: Path) -> None:
    """Write them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in weights.items():
        (folder / name).write_bytes(content)
