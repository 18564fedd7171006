"""A log of the episodes that a held-out evaluation requested, each written before it is sent.

    {"start": "9f3c…"}   a process that evaluates, by a random name
    {"position": 17}     an episode whose first request is about to be sent

Where completions differ each time, sampling an episode again is a second draw. This log tells how
often that happened: after a kill, for episodes that were under way, and after an edit of
`test.jsonl`, for those that were removed from it.
"""

import secrets
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from harness.errors import RunError
from harness.storage.atomic_files import Log, every_line
from harness.types import JSON


class RequestLog:
    """The log of one evaluation; opening it again goes on with it.

    Raises:
        RunError: It is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.adopting = False
        """True for an evaluation that a version without such a log began."""
        self.starts: list[str] = []
        self._counts: Counter[int] = Counter()
        stored = list(every_line(path))
        for _, line in stored:
            self._read(line)
        self._log = Log(path)
        # A torn line is of a request that was not sent: its line is whole before that.
        self._log.cut(stored[-1][0] if stored else 0)

    @property
    def empty(self) -> bool:
        """True if nothing was requested yet."""
        return not self._counts

    @property
    def again(self) -> int:
        """The number of times that an episode was requested which had been requested before."""
        return sum(self._counts.values()) - len(self._counts)

    def start(self) -> str:
        """Write down that a process begins or goes on with the evaluation; returns its name."""
        name = secrets.token_hex(8)
        self._append({"start": name})
        self.starts.append(name)
        return name

    def requested(self, position: int) -> None:
        """Write down that an episode is requested, on disk when this returns."""
        self._append({"position": position})
        self._counts[position] += 1

    def require(self, positions: Collection[int]) -> None:
        """Refuse outcomes whose requests are not in the log; or take them over, when `adopting`.

        Raises:
            RunError: There are some.
        """
        unknown = sorted(set(positions) - self._counts.keys())
        if self.adopting:
            for position in unknown:
                self.requested(position)
        elif unknown:
            raise RunError(
                f"{self.path} lacks {len(unknown)} requests whose outcomes are stored, so nobody "
                "can tell what was sampled before; restore it, or start a new run."
            )

    def close(self) -> None:
        """Close the file."""
        self._log.close()

    def _append(self, line: Mapping[str, JSON]) -> None:
        self._log.append(line)
        self._log.sync()

    def _read(self, line: Mapping[str, JSON] | None) -> None:
        position, start = (line or {}).get("position"), (line or {}).get("start")
        if type(position) is int:
            self._counts[position] += 1
        elif isinstance(start, str):
            self.starts.append(start)
        else:
            raise RunError(
                f"{self.path} is damaged, so nobody can tell what was sampled before; restore it, "
                "or start a new run."
            )
