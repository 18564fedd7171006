"""A log whose lines keep their order, though they come in any.

A line that comes before its turn waits in a file beside the log, so that a kill does not lose it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from harness.storage.atomic_files import Log, lines
from harness.types import JSON


class OrderedLog:
    """The log, and `unfinished_NAME` beside it; opening it again finds what either holds."""

    def __init__(self, path: Path) -> None:
        stored = list(lines(path))
        self.lines = [line for _, line in stored]
        self._log = Log(path)
        self._log.cut(stored[-1][0] if stored else 0)
        self._beside = path.with_name(f"unfinished_{path.name}")
        self.early: dict[int, Mapping[str, JSON]] = {}
        beside = list(lines(self._beside))
        for _, early in beside:
            position, line = early.get("position"), early.get("line")
            if isinstance(position, int) and isinstance(line, Mapping):
                self.early[position] = cast(Mapping[str, Any], line)
        self._early_log = Log(self._beside)
        self._beside_holds = bool(beside)
        # A torn last line would be joined with the next one.
        self._early_log.cut(beside[-1][0] if beside else 0)
        self._move()

    def __contains__(self, position: int) -> bool:
        return position < len(self.lines) or position in self.early

    def add(self, position: int, line: Mapping[str, JSON]) -> None:
        """Keep a line, on disk when this returns."""
        self.early[position] = line
        if position != len(self.lines):
            self._early_log.append({"position": position, "line": line})
            self._early_log.sync()
            self._beside_holds = True
        self._move()

    def close(self) -> None:
        """Close both files, and remove the second if all of its lines have moved."""
        self._log.close()
        self._early_log.close()
        if not self.early:
            self._beside.unlink(missing_ok=True)

    def _move(self) -> None:
        """Move the lines whose turn it is into the log."""
        before = len(self.lines)
        while (line := self.early.pop(len(self.lines), None)) is not None:
            self._log.append(line)
            self.lines.append(line)
        if len(self.lines) > before:
            self._log.sync()
        for position in [p for p in self.early if p < len(self.lines)]:
            del self.early[position]  # left by a kill between the two files
        if self._beside_holds and not self.early:
            self._early_log.cut(0)
            self._beside_holds = False
