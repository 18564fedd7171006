"""Adapters on disk for a vLLM engine: one complete folder per version.

An engine caches what it computed under an adapter's name (its prefix cache does), so a name is
never used twice, not even when the same version is loaded again from a checkpoint.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from uuid import uuid4

from harness.errors import ModelError
from harness.storage.atomic_files import publish


class AdapterStore:
    """The folder of this process's adapters, under unique names.

    Raises:
        ModelError: The folder cannot be made.
    """

    def __init__(self, root: str = "") -> None:
        """`root`: a folder that the engine's machine sees under the same path; "" makes one."""
        try:
            self._own = not root
            self._root = Path(root or tempfile.mkdtemp(prefix="espl-adapters-"))
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ModelError(
                f"The folder for adapters, {root}, cannot be made ({error.strerror}): name one "
                "that this machine and the server both see, as in ?adapters=/shared/adapters."
            ) from error
        # Not part of the experiment's randomness: distinguishes processes that share the folder.
        self._mark = uuid4().hex[:10]
        self._numbers = count(1)

    def add(self, version: int, write: Callable[[Path], None]) -> Path:
        """Have `write` fill a folder for `version`; it appears under its name once complete."""
        folder = self._root / f"{self._mark}-{next(self._numbers)}-v{version}"
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        write(part)
        publish(part, folder)
        return folder

    def remove(self, folder: Path) -> None:
        """Delete a folder that no engine reads any more."""
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Delete all folders of this process."""
        if self._own:
            shutil.rmtree(self._root, ignore_errors=True)
            return
        # Others' adapters may lie beside ours; the leading * finds unfinished ones (.NAME.part).
        for folder in self._root.glob(f"*{self._mark}-*"):
            shutil.rmtree(folder, ignore_errors=True)
