"""Prompts that a method keeps besides a population, as `harness show` prints them.

INSPO weighs instructions, GEPA keeps validated prompts and their front, FST the prompts that cover
it, P2O templates for hard tasks. A method says so by a list of prompts under one of these names in
its state.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from rich.text import Text

from harness.display.console_text import plain

Record = Mapping[str, Any]

KEPT: Mapping[str, str] = {
    "instructions": "instructions with weights",
    "pool": "validated prompts; * is best on some validation task",
    "prompts": "prompts that the weights are trained under",
    "templates": "templates for hard tasks",
}
"""Titles, by the name in a method's state."""


def prompt_pools(state: Mapping[str, Any]) -> Iterator[tuple[str, list[Text]]]:
    """A title and its lines for each list of prompts in a method's state."""
    for name, title in KEPT.items():
        found = state.get(name)
        if isinstance(found, str) or not isinstance(found, Sequence):
            continue
        records = [cast(Record, r) for r in found if isinstance(r, Mapping) and "id" in r]
        if records:
            yield title, [line for r in records for line in _lines(r, _front(records))]


def _front(records: Sequence[Record]) -> set[str]:
    """Prompts that are best on a task, alone or tied; none where no scores by task exist."""
    rows = {str(r["id"]): r.get("scores") for r in records}
    scored = {id: row for id, row in rows.items() if isinstance(row, list) and row}
    tops = [max(column) for column in zip(*scored.values(), strict=False)]
    return {
        id
        for id, row in scored.items()
        if any(score == top for score, top in zip(row, tops, strict=False))
    }


def _lines(record: Record, front: set[str]) -> Iterator[Text]:
    value = next((record[k] for k in ("weight", "mean") if k in record), None)
    number = "" if value is None else f"  {value:.3f}"
    waits = "  not evaluated yet" if "weight" in record and value is None else ""
    mark = "*" if str(record["id"]) in front else " "
    yield Text(f"{mark} {plain(str(record['id']), 20)}{number}{waits}")
    for principle in record.get("principles", ()):
        yield Text(f"    {plain(str(principle), 100)}", style="dim")
