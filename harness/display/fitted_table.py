"""Tables whose numbers are never cut: where a terminal is too narrow, each row is a paragraph."""

import textwrap
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

_NAME = 12  # columns that the name of a row gets at least


class FittedTable:
    """Rows of text under headings; the first column names the row and may be shortened.

    Headings may have several lines. The other columns are right-justified unless in `left`.
    """

    def __init__(
        self, heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)
    ) -> None:
        self.heads, self.rows, self._left = tuple(heads), [tuple(row) for row in rows], tuple(left)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """The table where it fits, else a paragraph for each row."""
        sizes = [_size(*cells) for cells in zip(self.heads, *self.rows, strict=True)]
        for gap in (2, 1):
            free = options.max_width - sum(sizes[1:]) - gap * len(sizes)
            if free >= min(sizes[0], _NAME):
                yield self._table(min(sizes[0], free), gap)
                return
        for row in self.rows:
            parts = [
                f"{_flat(head)} {cell}".strip()
                for head, cell in zip(self.heads[1:], row[1:], strict=True)
                if cell.strip()
            ]
            text = f"{row[0]}: {', '.join(parts)}" if parts else row[0]
            wrapped = textwrap.wrap(
                text, max(20, options.max_width), subsequent_indent="  ", break_on_hyphens=False
            )
            yield from (Text(line) for line in wrapped)

    def _table(self, name: int, gap: int) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
        for number, head in enumerate(self.heads):
            side: JustifyMethod = "left" if number in self._left else "right"
            width = name if number == 0 else None
            table.add_column(
                Text(head), justify=side, width=width, no_wrap=number > 0, overflow="ellipsis"
            )
        for row in self.rows:
            table.add_row(*(Text(cell, overflow="ellipsis") for cell in row))
        return table


def _size(*texts: str) -> int:
    return max(cell_len(line) for text in texts for line in text.split("\n"))


def _flat(heading: str) -> str:
    return heading.replace("-\n", "").replace("\n", " ")
