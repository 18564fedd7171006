"""Leaderboards for the terminal, as Markdown and as JSON.

All strings of an entry are untrusted: in the terminal they are text, never markup and never an
escape sequence; in Markdown they are escaped, never a link, a mention or HTML.
"""

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from leaderboards.boards import formatting
from leaderboards.boards.model import Board, Contrast, Row, track_differences
from leaderboards.boards.own_rows import marked, own_rows
from leaderboards.boards.rank import contrasts
from leaderboards.boards.remarks import remarks
from leaderboards.records.entry import Entry
from leaderboards.records.strict_json import JSON, encode

# A rule under the headings and nothing else, so that the gap between columns is the padding alone.
# Called ASCII, as rich would draw a grid where lines are not; our consoles replace the rule.
_RULE = Box("    \n    \n ── \n    \n    \n    \n    \n    \n", ascii=True)


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, and its cell for a row and `unit` (rewards lie within [0, 1])."""

    heading: str
    cell: Callable[[Row, bool], str]
    left: bool = False


_interval = formatting.interval_cell


def columns(board: Board, wide: bool) -> list[Column]:
    """The columns of a leaderboard; without `wide`, related ones share one."""
    found = [
        Column("#", lambda r, u: formatting.rank_cell(r), left=True),
        Column("method", lambda r, u: formatting.plain(r.label), left=True),
        Column("seeds", lambda r, u: str(len(r.scores))),
        Column("score", lambda r, u: formatting.number(r.score, u)),
        Column(
            "CI over\ntraining\nseeds", lambda r, u: formatting.interval_cell(r.seed_estimate, u)
        ),
        Column("CI over\ntest\nitems", lambda r, u: formatting.interval_cell(r.item_estimate, u)),
    ]
    if board.track.samples_per_task > 1:
        heading = f"pass\n@{board.track.samples_per_task}"
        found.append(Column(heading, lambda r, u: _pass(r)))
    known = any(row.money for row in board.rows)
    cost = [Column("cost", lambda r, u: formatting.money_cell(r))] if known else []
    if wide:
        found += [
            Column("training\nepisodes", lambda r, u: formatting.count(r.cost.episodes)),
            Column("rollout\ntokens", lambda r, u: formatting.count(r.cost.acting_tokens)),
            Column("reflection\ntokens", lambda r, u: formatting.count(r.cost.reflection_tokens)),
            *cost,
            Column("un-\nscored", lambda r, u: f"{r.unscored:,}"),
            Column("trun-\ncated", lambda r, u: f"{r.truncated:,}"),
        ]
    else:
        found += [
            Column("epi-\nsodes", lambda r, u: formatting.count(r.cost.episodes)),
            Column("rollout+\nreflection\ntokens", _tokens),
            *cost,
            Column("unsc./\ntrunc.", lambda r, u: f"{r.unscored:,}/{r.truncated:,}"),
        ]
    return found


def _pass(row: Row) -> str:
    return formatting.number(row.passes.value, True) if row.passes else formatting.NOTHING


def _tokens(row: Row, unit: bool) -> str:
    rollout, reflection = row.cost.acting_tokens, row.cost.reflection_tokens
    return f"{formatting.count(rollout)}+{formatting.count(reflection)}"


@dataclass(frozen=True, slots=True)
class TerminalTable:
    """Leaderboards for rich: `Console().print(TerminalTable(boards))`.

    `refused` are leaderboards whose rows were requested but belong to other Tracks than the first
    one; `problems` are sentences about files that could not be read. Rows that hold any of the
    entries with the ids `unpublished` are marked.
    """

    boards: Sequence[Board]
    refused: Sequence[Board] = ()
    problems: Sequence[str] = ()
    unpublished: AbstractSet[str] = frozenset()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        """The lines and tables to print at the console's width."""
        width = options.max_width
        if not self.boards:
            yield from _lines("No results yet: `harness run` makes the first.", width)
        for number, board in enumerate(self.boards):
            if number:
                yield Text()
                yield from _lines(_separate(self.boards[0], board), width, "yellow")
            yield from _board(board, width, self.unpublished)
        if self.refused and self.boards:
            yield Text("\nNot ranked here, because the Track differs:")
            for other in self.refused:
                refusal = formatting.refusal(self.boards[0].track, other)
                yield from _lines(refusal, width, "yellow", "· ")
        if self.problems:
            yield Text("\nNot read:")
            for problem in self.problems:
                yield from _lines(formatting.plain(problem, 400), width, "red", "· ")


def _board(board: Board, width: int, unpublished: AbstractSet[str]) -> Iterator[RenderableType]:
    yield from _lines(formatting.title(board.track, board.options), width, "bold")
    for line in formatting.track_lines(board.track, formatting.was_trained(board)):
        yield from _lines(line, width, "dim")
    yield Text()
    yield from _table(marked(board, unpublished), width)
    if differences := contrasts(board):
        yield Text()
        yield from _lines(formatting.contrast_heading(differences, board.unit), width)
        for contrast in differences:
            yield from _lines(formatting.contrast_line(contrast, board.unit), width, "", "· ")
    if board.at_tokens:
        yield Text()
        yield from _lines(formatting.tokens_heading(board), width)
        for one in board.at_tokens:
            yield from _lines(formatting.tokens_line(one, board.unit), width, "", "· ")
    cautions = list(remarks(board))
    if cautions:
        yield Text()
    for remark in cautions:
        yield from _lines(remark, width, "yellow", "! ")
    yield Text()
    for line in (*formatting.legend(board), *own_rows(board, unpublished)):
        yield from _lines(line, width, "dim")


def _table(board: Board, width: int) -> Iterator[RenderableType]:
    """The widest layout that fits, or else a paragraph for each row. Numbers are never cut."""
    # From the widest layout to the narrowest; `room` is the least width that names must get.
    for wide, gap, room in ((True, 2, 24), (False, 2, 20), (False, 1, 10)):
        shown = columns(board, wide)
        cells = [[c.cell(row, board.unit) for c in shown] for row in board.rows]
        sizes = [_size(c.heading, *(line[i] for line in cells)) for i, c in enumerate(shown)]
        names = [formatting.plain(t, 60) for r in board.rows for t in (r.method, *r.settings)]
        named = _size("method", *names)
        free = width - sum(sizes) + sizes[1] - gap * (len(sizes) - 1)
        if free >= min(named, room):
            sizes[1] = min(named, free)
            yield _grid(board, shown, cells, sizes, gap)
            return
    for line in cells:
        parts = (f"{_flat(c.heading)} {cell}" for c, cell in zip(shown[2:], line[2:], strict=True))
        yield from _lines(f"{line[0]} {line[1]}: {', '.join(parts)}", width)


def _size(*texts: str) -> int:
    return max(cell_len(line) for text in texts for line in text.split("\n"))


def _flat(heading: str) -> str:
    """A heading in one line: a hyphen at a line's end is removed, + and / join without a space."""
    for end, joined in (("-\n", ""), ("\n@", "@"), ("/\n", "/"), ("+\n", "+"), ("\n", " ")):
        heading = heading.replace(end, joined)
    return heading


def _grid(
    board: Board, shown: list[Column], cells: list[list[str]], sizes: list[int], gap: int
) -> Table:
    table = Table(box=_RULE, pad_edge=False, padding=(0, gap - 1, 0, 0), show_edge=False)
    for column, size in zip(shown, sizes, strict=True):
        side: Literal["left", "right"] = "left" if column.left else "right"
        table.add_column(
            Text(column.heading), justify=side, vertical="top", overflow="fold", width=size
        )
    for row, line in zip(board.rows, cells, strict=True):
        # As Text: in a plain string rich would take square brackets for markup.
        texts = [Text(cell) for cell in line]
        texts[1] = Text("\n".join(formatting.plain(t, 60) for t in (row.method, *row.settings)))
        table.add_row(*texts, style="bold" if row.rank == 1 else "")
    return table


def _lines(text: str, width: int, style: str = "", mark: str = "") -> Iterator[Text]:
    """Text wrapped under its own beginning, without spaces at the ends of lines."""
    wrapped = textwrap.wrap(
        text,
        max(width, 20),
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_on_hyphens=False,
    )
    for line in wrapped:
        yield Text(line, style=style)


def _separate(first: Board, board: Board) -> str:
    differing = formatting.differing_fields(board.track, first.track)
    return f"Not ranked with the first leaderboard: the Tracks differ in {differing}:"


def markdown(
    boards: Sequence[Board],
    refused: Sequence[Board] = (),
    problems: Sequence[str] = (),
    unpublished: AbstractSet[str] = frozenset(),
) -> str:
    """Leaderboards as a Markdown document, one section for each Track."""
    lines: list[str] = []
    for number, board in enumerate(boards):
        if number:
            lines += [escaped(_separate(boards[0], board)), ""]
        lines += _section(board, unpublished)
    if refused and boards:
        lines += ["Not ranked here, because the Track differs:", ""]
        lines += [f"- {escaped(formatting.refusal(boards[0].track, other))}" for other in refused]
        lines.append("")
    if problems:
        lines += [
            "Not read:",
            "",
            *(f"- {escaped(formatting.plain(p, 400))}" for p in problems),
            "",
        ]
    return "\n".join(lines)


def _section(board: Board, unpublished: AbstractSet[str]) -> list[str]:
    shown = columns(board, wide=True)
    headings = (_flat(c.heading) for c in shown)
    lines = [f"## {escaped(formatting.title(board.track, board.options))}", ""]
    lines += [
        f"- {escaped(line)}"
        for line in formatting.track_lines(board.track, formatting.was_trained(board))
    ]
    lines += ["", f"| {' | '.join(headings)} |"]
    lines.append(f"|{'|'.join(':---' if c.left else '---:' for c in shown)}|")
    for row in marked(board, unpublished).rows:
        lines.append(f"| {' | '.join(escaped(c.cell(row, board.unit)) for c in shown)} |")
    if differences := contrasts(board):
        lines += ["", escaped(formatting.contrast_heading(differences, board.unit)), ""]
        lines += [f"- {escaped(formatting.contrast_line(c, board.unit))}" for c in differences]
    if board.at_tokens:
        lines += ["", escaped(formatting.tokens_heading(board)), ""]
        lines += [
            f"- {escaped(formatting.tokens_line(one, board.unit))}" for one in board.at_tokens
        ]
    if cautions := list(remarks(board)):
        lines += ["", *(f"- **!** {escaped(remark)}" for remark in cautions)]
    notes = (*formatting.legend(board), *own_rows(board, unpublished))
    return [*lines, "", *(escaped(line) + "  " for line in notes), ""]


def escaped(text: str) -> str:
    """Text that Markdown shows literally: no emphasis, link, mention, mathematics or HTML."""
    # The & comes first, because the entities that follow contain it.
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]|~$#])", r"\\\1", text)
    # Renderers such as GitHub's make links of bare addresses and www., and mentions of @name.
    text = text.replace("://", "&#58;//").replace("@", "&#64;")
    return re.sub(r"(?i)www\.", lambda m: m[0][:3] + "&#46;", text)


def as_json(
    boards: Sequence[Board], refused: Sequence[Board] = (), problems: Sequence[str] = ()
) -> dict[str, Any]:
    """Leaderboards as plain JSON values; every number is finite or None."""
    return {
        "boards": [_board_json(board) for board in boards],
        "refused": [
            {
                "track": other.track.id,
                "rows": [row.label for row in other.rows],
                "differs": [encode(d) for d in track_differences(boards[0].track, other.track)],
            }
            for other in (refused if boards else ())
        ],
        "problems": list(problems),
    }


def _board_json(board: Board) -> dict[str, Any]:
    return {
        "track_id": board.track.id,
        "track": encode(board.track),
        "unit": board.unit,
        "rows": [_row_json(row) for row in board.rows],
        "contrasts": [_contrast_json(contrast) for contrast in contrasts(board)],
        "at_equal_tokens": [encode(one) for one in board.at_tokens],
        # Left out where there are none: published numbers from before keep their text.
        **({"apart": [_apart_json(entry) for entry in board.apart]} if board.apart else {}),
    }


def _apart_json(entry: Entry) -> dict[str, Any]:
    return {
        "entry": entry.id,
        "method": entry.method,
        "seed": entry.seed,
        "segments": [encode(segment) for segment in entry.segments],
    }


def _contrast_json(contrast: Contrast) -> dict[str, JSON]:
    """A contrast; without bounds where all outcomes are scored, as in older files."""
    return {
        name: value
        for name, value in encode(contrast).items()
        if name != "bounds" or value is not None
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "ranks": list(row.ranks) if row.ranks else None,
        "provisional": row.provisional,
        "label": row.label,
        "method": row.method,
        "config": encode(row.config),
        "seeds": [{"seed": seed, "score": value} for seed, value in row.scores],
        "score": row.score,
        "this_method": encode(row.seed_estimate),
        "this_agent": encode(row.item_estimate),
        "pass_at_k": encode(row.passes) if row.passes else None,
        "cost": encode(row.cost),
        "money": encode(row.money) if row.money else None,
        "outcomes": row.outcomes,
        "unscored": row.unscored,
        "truncated": row.truncated,
        "bounds": encode(row.bounds) if row.bounds else None,
        "warnings": list(row.warnings),
        "entries": [entry.id for entry in row.entries],
    }
