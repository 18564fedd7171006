"""Results of runs in Python: entries, leaderboard, tables, plots."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from harness.runs.results.frames import to_pandas, write_parquet
from harness.runs.results.plots import PlotKind, plot
from harness.runs.results.tables import Source, rows_of
from leaderboards.boards import formatting
from leaderboards.boards.model import Board
from leaderboards.boards.rank import boards
from leaderboards.boards.render import columns, markdown
from leaderboards.records.entry import Entry

_MOST_ROWS = 40  # of one leaderboard in a notebook


@dataclass(frozen=True)
class Results:
    """Results of finished runs: an entry and a run directory for each, and notes.

    For an entry that was read without its run, `folders` has the entry's file.
    """

    entries: tuple[Entry, ...]
    folders: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The leaderboards as Markdown."""
        return markdown(self.boards)

    @property
    def boards(self) -> tuple[Board, ...]:
        """A leaderboard for each Track."""
        return boards(self.entries)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Entries with the place that each was read from."""
        return tuple(map(Source, self.entries, self.folders))

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        runs = formatting.counted(len(self.entries), "run")
        return f"Results({runs}, {formatting.counted(len(self.boards), 'leaderboard')})"

    def _repr_html_(self) -> str:
        """Leaderboards as small tables, for a notebook."""
        return "".join(map(_html, self.boards)) or "<p>No finished run.</p>"

    def to_pandas(self, table: str = "rows") -> Any:
        """A data frame of `rows`, `runs`, `outcomes`, `curves` or `prompts`.

        Raises:
            UsageError: There is no such table, or pandas is not installed.
        """
        return to_pandas(table, rows_of(table, self.sources))

    def to_parquet(self, folder: str | Path) -> list[Path]:
        """Write every table as a Parquet file into a folder; returns their paths."""
        return write_parquet(Path(folder), self.sources)

    def plot(self, kind: PlotKind = "curves", axes: Any = None) -> Any:
        """Plot learning curves, or `scores` with intervals; returns matplotlib's axes."""
        return plot(kind, rows_of("curves", self.sources), rows_of("rows", self.sources), axes)


def _html(board: Board) -> str:
    shown = columns(board, wide=False)
    head = _cells("th", (column.heading.replace("-\n", "") for column in shown))
    body = [
        _cells("td", (column.cell(row, board.unit) for column in shown))
        for row in board.rows[:_MOST_ROWS]
    ]
    left = len(board.rows) - _MOST_ROWS
    more = f"<p>and {formatting.counted(left, 'row')} more</p>" if left > 0 else ""
    title = escape(formatting.title(board.track, board.options))
    return f"<p><b>{title}</b></p><table>{head}{''.join(body)}</table>{more}"


def _cells(tag: str, texts: Iterable[str]) -> str:
    cells: Sequence[str] = [f"<{tag}>{escape(text)}</{tag}>" for text in texts]
    return f"<tr>{''.join(cells)}</tr>"
