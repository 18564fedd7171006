"""Boards as CSV: what is unknown is empty, and nothing is a spreadsheet's formula."""

import csv

from leaderboards.boards.export_tables import COLUMNS, table, write_csv
from leaderboards.boards.rank import boards


def test_a_row_is_told_in_full(make_entry):
    (record,) = table(boards([make_entry()]))
    assert list(record) == list(COLUMNS)
    assert (record["score"], record["rank"], record["seeds"]) == (0.75, 1, 1)
    assert (record["pass_at_k"], record["k"]) == (1.0, 2)
    assert (record["acting_tokens"], record["unscored"]) == (52_000, 0)
    assert record["method_low"] is None and record["provisional"] is True


def test_what_is_unknown_is_empty_and_formulas_are_texts(make_entry, tmp_path):
    entry = make_entry({"test:0": [None], "test:1": [None]}, method='=HYPERLINK("x")')
    write_csv(tmp_path / "b.csv", boards([entry]))
    with (tmp_path / "b.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["method"] == '\'=HYPERLINK("x")'
    assert (row["score"], row["rank"], row["unscored"]) == ("", "", "2")
