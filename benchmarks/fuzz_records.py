"""Targets of `benchmarks.fuzz` that read records of others: entries and run directories."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path

from benchmarks.fuzz_pipes import Target


def entry() -> Target:
    from leaderboards.records.entry import Entry
    from leaderboards.records.strict_json import RecordError

    def check(text: str) -> None:
        try:
            found = Entry.from_json(text.encode("utf-8", "surrogatepass"))
        except RecordError as error:
            assert str(error).isprintable(), "a refusal holds control characters"
            return
        assert Entry.from_json(found.to_json()) == found

    return check


def board() -> Target:
    """An entry that could be read, on every board: terminal, Markdown, CSV and JSON."""
    from rich.console import Console

    from leaderboards.boards.rank import boards
    from leaderboards.boards.render import TerminalTable, as_json, markdown
    from leaderboards.records.entry import Entry
    from leaderboards.records.strict_json import RecordError

    def check(text: str) -> None:
        try:
            found = boards([Entry.from_json(text.encode("utf-8", "surrogatepass"))])
        except RecordError:
            return
        out = StringIO()
        Console(file=out, width=80, color_system=None).print(TerminalTable(found))
        observation_text = out.getvalue() + markdown(found)
        assert not any(c in observation_text for c in "\x1b\x00\x07\x9b\u202e\u2066"), (
            "control characters"
        )
        assert "<script" not in markdown(found)
        json.dumps(as_json(found), allow_nan=False)

    return check


def show() -> Target:
    """A run directory whose logs somebody else wrote."""
    from rich.console import Console

    from harness.cli.commands.show import print_run
    from harness.errors import HarnessError
    from harness.runs.request import write_request
    from harness.settings.config import Config

    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    write_request(Config(), place)
    names = ("rounds.jsonl", "population.jsonl", "episodes.jsonl", "champion.txt")

    def check(text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        for name in names:
            (place / name).write_bytes(data + b"\n")
        out = StringIO()
        with suppress(HarnessError):
            print_run(Console(file=out, width=80, color_system=None), place, 2)
        assert not any(c in out.getvalue() for c in "\x1b\x00\x07\x9b\u202e\u2066")

    return check


def site() -> Target:
    """A finished run whose logs somebody else wrote, on its page of the site."""
    import shutil

    from harness.runs.request import write_request
    from harness.runs.run_log import read_log
    from harness.settings.config import Config
    from leaderboards.site import build_site

    golden = Path(__file__).parents[1] / "tests/leaderboards/golden/v1.entry.json"
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    write_request(Config(), place / "run")
    shutil.copy(golden, place / "run" / "entry.json")
    names = ("rounds.jsonl", "population.jsonl", "episodes.jsonl", "test.jsonl")

    def check(text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        for name in names:
            (place / "run" / name).write_bytes(data + b"\n")
        built = build_site(place / "site", [place / "run"], read_log)
        assert built.entries + len(built.problems) == 1
        for path in (place / "site").rglob("*.js"):
            if path.parent.name in ("runs", "boards"):
                assert "<script" not in path.read_text(encoding="ascii")

    return check


def cells() -> Target:
    """A cell of a CSV file, as a spreadsheet splits it."""
    from leaderboards.boards.export_tables import LONGEST_CELL, _harmless

    def check(text: str) -> None:
        cell = str(_harmless(text))
        assert len(cell) <= LONGEST_CELL and (cell.isprintable() or not cell)
        for part in cell.replace("|", ";").split(";"):
            assert part.lstrip(' "')[:1] not in tuple("=+-@＝＋－＠"), cell

    return check


RECORDS: dict[str, Callable[[], Target]] = {
    "entry": entry,
    "board": board,
    "show": show,
    "site": site,
    "cells": cells,
}
