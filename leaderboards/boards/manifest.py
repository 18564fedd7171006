"""Files beside a folder of published entries: the hash of each entry, and the leaderboards.

    results/          entries, one file for each run
    results.sha256    their hashes, as `sha256sum --check` reads them
    results.json      the leaderboards made from them, with every number that is printed
    README.md         the same leaderboards as Markdown, between two markers, if it has them

They are outside the folder, so that editing an entry requires editing a second, reviewed file.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from leaderboards.boards.model import Board
from leaderboards.boards.rank import boards
from leaderboards.boards.render import as_json, markdown
from leaderboards.records.store import find_entries, read_bytes, read_text, write_whole
from leaderboards.records.strict_json import RecordError

BEGIN, END = "<!-- boards: generated, do not edit -->", "<!-- end of boards -->"
# sha256sum puts a second blank before a file read as text, and * before one read as binary.
_LINE = re.compile(r"([0-9a-f]{64}) [ *]([^\r\n]+)")


def manifest_path(folder: Path) -> Path:
    """The path of a folder's manifest of hashes."""
    return folder.resolve().with_name(folder.resolve().name + ".sha256")


def boards_path(folder: Path) -> Path:
    """The path of the leaderboards of a folder's entries, as JSON."""
    return folder.resolve().with_name(folder.resolve().name + ".json")


def file_hash(path: Path) -> str:
    """The SHA-256 of a file's bytes; raises RecordError if it cannot be read."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def read_manifest(path: Path) -> Mapping[str, str]:
    """Hashes by path within the folder; raises RecordError naming the line that is wrong."""
    folder = path.name.removesuffix(".sha256")
    found: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or not match[2].startswith(f"{folder}/"):
            problem = f"line {number} is not a hash and a path in {folder}/"
            raise RecordError(problem, source=path.name)
        found[match[2].removeprefix(f"{folder}/")] = match[1]
    return found


def check_replaceable(folder: Path) -> None:
    """Refuse to write over files beside the folder that are not its manifest and leaderboards.

    Raises:
        RecordError: naming the file.
    """
    try:
        path = manifest_path(folder)
        if path.exists():
            read_manifest(path)
        path = boards_path(folder)
        ours = not path.exists() or "boards" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecordError):  # nothing that was written here
        ours = False
    if not ours:
        problem = "is no file of published results and would be overwritten; choose another folder"
        raise RecordError(problem, source=str(path))


def write_manifest(folder: Path) -> None:
    """Write the hashes of all entry files below a folder, and the leaderboards made from them."""
    root = folder.resolve()
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.json") if p.is_file())
    lines = (f"{file_hash(root / name)}  {root.name}/{name}\n" for name in files)
    write_whole(manifest_path(root), "".join(lines).encode())
    made = boards(find_entries([root]).entries)
    text = json.dumps(as_json(made), indent=1, allow_nan=False) + "\n"
    write_whole(boards_path(root), text.encode())
    page = page_path(root)
    if (parts := read_page(page)) is not None:
        write_whole(page, f"{parts[0]}{rendered_boards(made)}{parts[2]}".encode())


def page_path(folder: Path) -> Path:
    """The path of the page that shows a folder's leaderboards."""
    return folder.resolve().with_name("README.md")


def read_page(page: Path) -> tuple[str, str, str] | None:
    """A page before, between and after its markers; None without page or markers."""
    text = read_text(page) if page.exists() else ""
    before, mark, rest = text.partition(BEGIN)
    inside, end, after = rest.partition(END)
    return (before + mark, inside, end + after) if mark and end else None


def rendered_boards(made: Sequence[Board]) -> str:
    """The leaderboards as they stand between the markers."""
    return f"\n\n{markdown(made) if made else 'No result has been published yet.'}\n\n"
