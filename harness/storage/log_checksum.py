"""The checksum of a log that no checkpoint counts on: the held-out evaluation's.

    test_checksum.json   {"bytes": 4096, "sha256": "…"}: what stands in test.jsonl for good

It is written after each chunk is on disk, so that a log may be longer, but never shorter or other.
"""

from dataclasses import asdict
from pathlib import Path

from harness.errors import RunError
from harness.storage.atomic_files import Log, read_json, write_json
from harness.storage.checkpoint import advice
from harness.storage.checksum import checksum


def _path(log: Path) -> Path:
    return log.with_name(f"{log.stem}_checksum.json")


def write_log_checksum(log: Log) -> None:
    """Write down what the log holds, once that is on disk."""
    write_json(_path(log.path), asdict(log.checksum()))


def check_log(log: Path) -> None:
    """Compare a log with its checksum; one that has none was begun by an earlier version.

    Raises:
        RunError: It is shorter, or what stood in it was changed.
    """
    path, then = _path(log), advice(log.parent)
    if not path.exists():
        return
    record = read_json(path, then)
    length = record.get("bytes")
    if type(length) is not int or length < 0:
        raise RunError(f"{path} is damaged: {then}")
    size = log.stat().st_size if log.is_file() else 0
    if size < length:
        raise RunError(f"{log} is shorter than {path} says ({size:,} of {length:,} bytes): {then}")
    if record != asdict(checksum(log, length)):
        raise RunError(
            f"{log} was changed after the evaluation wrote it (its SHA-256 is not that in {path}): "
            f"{then}"
        )
