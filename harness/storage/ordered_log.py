"""A log whose lines keep their order, though they come in any.

A line that comes before its turn waits in a file beside the log, so that a kill does not lose it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from harness.storage.atomic_files import Log, every_line
from harness.types import JSON

Line = Mapping[str, JSON]


class OrderedLog:
    """The log, and `unfinished_NAME` beside it; opening it again finds what either holds.

    `position_of` gives a line's position from what it holds, so that the lines of a log of which a
    part was lost keep their places; it raises where a line is none of this log. Without it, lines
    are numbered as they stand.
    """

    def __init__(self, path: Path, position_of: Callable[[Line], int] | None = None) -> None:
        self.lines: list[Line] = []
        self.early: dict[int, Line] = {}
        self._beside = path.with_name(f"unfinished_{path.name}")
        stored = list(every_line(path))
        beside = list(every_line(self._beside))
        in_place, displaced = 0, False
        for end, line in stored:
            if line is None:
                displaced = True
                continue
            position = len(self.lines) if position_of is None else position_of(line)
            if not displaced and position == len(self.lines):
                self.lines.append(line)
                in_place = end
            else:
                displaced = True
                self.early.setdefault(position, line)
        moved = dict(self.early)
        for _, early in beside:
            held, turn = (early or {}).get("line"), (early or {}).get("position")
            if isinstance(turn, int) and isinstance(held, Mapping):
                line = cast(Mapping[str, Any], held)
                self.early.setdefault(turn if position_of is None else position_of(line), line)
        self._log, self._early_log = Log(path), Log(self._beside)
        self._beside_holds = bool(beside)
        # A torn last line would be joined with the next one.
        self._early_log.cut(beside[-1][0] if beside else 0)
        for position, line in moved.items():
            self._keep(position, line)
        # After they are on disk in the other file.
        self._log.cut(in_place)
        self._move()

    def __contains__(self, position: int) -> bool:
        return position < len(self.lines) or position in self.early

    @property
    def positions(self) -> list[int]:
        """The positions of all lines that are there."""
        return [*range(len(self.lines)), *self.early]

    def add(self, position: int, line: Line) -> None:
        """Keep a line, on disk when this returns."""
        self.early[position] = line
        if position != len(self.lines):
            self._keep(position, line)
        self._move()

    def close(self) -> None:
        """Close both files, and remove the second if all of its lines have moved."""
        self._log.close()
        self._early_log.close()
        if not self.early:
            self._beside.unlink(missing_ok=True)

    def _keep(self, position: int, line: Line) -> None:
        self._early_log.append({"position": position, "line": line})
        self._early_log.sync()
        self._beside_holds = True

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
