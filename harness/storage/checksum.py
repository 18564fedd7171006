"""Size and SHA-256 of a file or of its first bytes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Checksum:
    """The size and SHA-256 of a file, or of its first bytes."""

    bytes: int
    sha256: str


class GrowingChecksum:
    """The checksum of a file that grows: only what is new is read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._sha, self._done = hashlib.sha256(), 0

    def upto(self, length: int) -> Checksum:
        """Checksum of the first `length` bytes, or of all where there are fewer."""
        if length < self._done:
            self._begin()
        with self._path.open("rb") as file:
            file.seek(self._done)
            while self._done < length and (piece := file.read(min(_PIECE, length - self._done))):
                self._sha.update(piece)
                self._done += len(piece)
        return Checksum(self._done, self._sha.hexdigest())


def checksum(path: Path, length: int | None = None) -> Checksum:
    """Checksum of a file, or of its first `length` bytes."""
    return GrowingChecksum(path).upto(path.stat().st_size if length is None else length)
