"""Files in and out of containers, as tar archives in memory.

What comes out was made by an agent and is copied with distrust: only folders and regular files
exist in a `Tree`. Links, pipes, sockets and devices are left out and named; several names of one
file become several files; sizes are bounded before anything is read.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from envs.containers.errors import SandboxError

# One moment for all files: the same tree always gives the same archive.
_TIME = 1_700_000_000
# Empty files add nothing to a size, so their number has a limit of its own.
_ENTRIES = 20_000


class TooMuch(Exception):
    """A folder holds more than may be copied out of it; says what."""


@dataclass(frozen=True, slots=True)
class File:
    """A regular file; of its rights only whether it may be run."""

    content: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class FileTree:
    """A folder's regular files by path, and its folders; `left_out` names what is neither.

    Paths are relative, with slashes; names that are not UTF-8 hold surrogates, as `os.fsdecode`
    gives them.
    """

    files: Mapping[str, File] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def pack(tree: FileTree, owner: str) -> bytes:
    """A tar archive of a tree that belongs to "user:group"."""
    buffer = io.BytesIO()
    folders = set(tree.folders) | {p for path in tree.files for p in _parents(path)}
    folders |= {parent for path in tree.folders for parent in _parents(path)}
    # PAX keeps paths of any length, and names that are not UTF-8 as the bytes they are.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folders):
            entry = _entry(path, owner, 0o755)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for path, file in sorted(tree.files.items()):
            entry = _entry(path, owner, 0o755 if file.executable else 0o644)
            entry.size = len(file.content)
            archive.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()


def _entry(path: str, owner: str, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    user, group = owner.split(":")
    entry.uid, entry.gid, entry.mode, entry.mtime = int(user), int(group), mode, _TIME
    return entry


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    return ("/".join(parts[: n + 1]) for n in range(len(parts)))


def unpack(pieces: Iterable[bytes], most_bytes: int) -> FileTree:
    """Read the archive of one folder as the daemon sends it, at most `most_bytes` of content.

    Raises TooMuch where there is more, which sparse files and many names of one file make easy;
    nothing beyond is read. Raises SandboxError where it is no archive of one folder.
    """
    try:
        # Read as a stream, so that a size can be refused before its content comes.
        with tarfile.open(fileobj=cast(Any, _Reader(pieces)), mode="r|") as archive:
            return _taken(archive, most_bytes)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise SandboxError(f"Docker sent an archive that cannot be read ({error}).") from error


def _taken(archive: tarfile.TarFile, most_bytes: int) -> FileTree:
    files: dict[str, File] = {}
    folders: list[str] = []
    left_out: list[str] = []
    total = 0
    for number, member in enumerate(archive):
        path = _inside(member.name)
        # A further name of a file stands in the archive with size 0; it costs what the file holds,
        # since it becomes a file of its own.
        first = files.get(_inside(member.linkname)) if member.islnk() else None
        total += len(first.content) if first else member.size
        if total > most_bytes or number > _ENTRIES:
            raise TooMuch(f"more than {most_bytes >> 20} MB or {_ENTRIES} files")
        if member.isreg():
            content = archive.extractfile(member)
            files[path] = File(content.read() if content else b"", bool(member.mode & 0o100))
        elif first is not None:
            files[path] = first
        elif member.isdir():
            folders += [path] if path else []
        else:
            left_out.append(path)
    return FileTree(files, tuple(sorted(folders)), tuple(sorted(left_out)))


def _inside(name: str) -> str:
    """A member's path below the folder that was asked for."""
    # The daemon puts the name of the folder that was asked for before every path.
    path = name.rstrip("/").partition("/")[2]
    if ".." in path.split("/") or path.startswith("/"):
        raise SandboxError(f"Docker sent an archive with the path {name!r}.")
    return path


class _Reader:
    """Pieces of bytes as the file that tarfile reads a stream from."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest += piece
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken
