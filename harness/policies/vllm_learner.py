"""`vllm:` where learner and samplers are apart: what is learnt goes to engines as peft adapters.

The learner's side has a copy of the model to train and no engine; a sampler's side has an engine
and no copy to train. What goes from one to the other is a folder of files: peft's own, and a note
of their version.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path

from harness.errors import ModelError
from harness.policies.vllm_base import Answers, Ask

_NOTE = "serving.json"


class Elsewhere:
    """An engine's place where engines are elsewhere: it takes adapters, and answers nobody."""

    processed = True
    notes: tuple[str, ...] = ()

    def __init__(self, release: str, context: int | None) -> None:
        self.release, self.context = release, context

    def generate(self, waiting: deque[Ask], adapter: str = "") -> Answers:
        """Nothing: engines elsewhere do.

        Raises:
            ModelError: Always.
        """
        raise ModelError("This learner only learns; replies are sampled by engine.samplers.")

    def load_adapter(self, folder: Path) -> str:
        """Its name; who samples is handed it."""
        return folder.name

    def drop_adapter(self, name: str) -> None:
        """Nothing is held."""

    def sleep(self) -> None:
        """Nothing is held."""

    def wake(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


def hand_over(folder: Path, version: int, write: Callable[[Path], None]) -> None:
    """Write what `handed` reads: an adapter as `write` writes it, none at version 0."""
    folder.mkdir(parents=True, exist_ok=True)
    if version:
        write(folder)
    (folder / _NOTE).write_text(json.dumps({"version": version}) + "\n")


def handed(folder: Path) -> tuple[int, Callable[[Path], None]] | None:
    """The version, and what writes its adapter; None where `hand_over` did not write the folder.

    Raises:
        ModelError: The note cannot be read.
    """
    note = folder / _NOTE
    if not note.is_file():
        return None
    try:
        version = int(json.loads(note.read_text())["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{note.name} of the weights that were handed over cannot be read; resume the run."
        ) from error

    def write(into: Path) -> None:
        shutil.copytree(folder, into, ignore=shutil.ignore_patterns(_NOTE))

    return version, write
