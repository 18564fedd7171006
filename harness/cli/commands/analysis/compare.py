"""`harness compare`: the difference of runs or methods, with its interval, or why there is none."""

import argparse
import json
import sys
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from harness.cli.select_rows import rows_for
from harness.display.console_text import forgiving
from harness.errors import UsageError
from leaderboards.boards import formatting
from leaderboards.boards.compare import Comparison, Contrasted, Incomparable, compare
from leaderboards.boards.model import Row, why_not
from leaderboards.records.strict_json import encode
from leaderboards.stats.paired import Effect

DIFFERENT = 1
"""What --why-not returns where rows cannot be compared, as `diff` does."""


def main(arguments: argparse.Namespace) -> int:
    """Compare every row with the first; exit code 2 where their Tracks differ."""
    if len(arguments.sides) < 2:
        raise UsageError(
            "A comparison takes two or more: the reference, then what is compared with it, as in "
            "harness compare base espl --in runs/my-run."
        )
    rows = rows_for(arguments.sides, arguments.within, arguments.seeds)
    if arguments.why_not:
        return _why_not(rows, arguments.json)
    try:
        found = compare(rows, arguments.interval == "bootstrap")
    except Incomparable as error:
        words_ = " ".join(["harness compare --why-not", *arguments.sides])
        raise UsageError(f"{error}; {words_} shows the values.") from error
    except ValueError as error:
        raise UsageError(f"{error}; leave out --interval bootstrap.") from error
    if arguments.json:
        json.dump(as_json(found), sys.stdout, allow_nan=False)
        print()
        return 0
    console = forgiving(Console())
    for part in shown(found):
        console.print(part)
    return 0


def _why_not(rows: list[Row], as_json_: bool) -> int:
    """Every field in which a row's Track differs from the reference's."""
    here = rows[0].entries[0].track
    apart = {row.label: why_not(here, row.entries[0].track) for row in rows[1:]}
    if as_json_:
        print(json.dumps({label: [encode(d) for d in found] for label, found in apart.items()}))
    else:
        console = forgiving(Console())
        for label, found in apart.items():
            head = f"{formatting.plain(rows[0].label)} and {formatting.plain(label)}: "
            told = "one Track, so they can be compared" if not found else "the Tracks differ in"
            console.print(Text(head + told))
            for d in found:
                values = f"{formatting.plain(d.here)} and {formatting.plain(d.there)}"
                console.print(Text(f"  {d.field}: {values}"))
    return DIFFERENT if any(apart.values()) else 0


def shown(found: Comparison) -> Iterator[RenderableType]:
    """The sides, then both questions, then what has to be said."""
    yield Text(formatting.title(found.track), style="bold")
    yield Text()
    sides = Table(box=None, padding=(0, 2, 0, 0))
    for head in ("", "seeds", "score", "this method", "this agent", "episodes", "tokens"):
        sides.add_column(head, justify="right" if head else "left")
    for row in (found.reference, *(c.row for c in found.contrasts)):
        tokens = row.cost.acting_tokens + row.cost.reflection_tokens
        sides.add_row(
            Text(formatting.plain(row.label, 60)),
            str(len(row.scores)),
            formatting.number(row.score, found.unit),
            formatting.between(row.of_method, found.unit),
            formatting.between(row.of_agent, found.unit),
            formatting.count(row.cost.episodes),
            formatting.count(tokens),
        )
    yield sides
    for question in ("this method", "this agent"):
        yield Text()
        yield Text(_heading(question, found))
        for contrast in found.contrasts:
            yield Text(f"· {_line(contrast, found, question)}")
    yield Text()
    for contrast in found.contrasts:
        if contrast.bounds is not None:
            low, high = (formatting.signed(b, found.unit) for b in contrast.bounds)
            name = formatting.plain(contrast.row.label, 60)
            yield Text(f"! {name}: whatever the unscored were, {low} to {high}", style="yellow")
    for caution in found.cautions:
        yield Text(f"! {formatting.plain(caution)}", style="yellow")


def _heading(question: str, found: Comparison) -> str:
    unit = " in points" if found.unit else ""
    what = {
        "this method": "what other training runs would differ by (seeds are paired)",
        "this agent": "what these agents would differ by on other tasks (tasks are paired)",
    }[question]
    several = len(found.contrasts)
    adjusted = f"; p adjusted for {several} contrasts (Holm)" if several > 1 else ""
    return f"{question}: {what}{unit}, 95 % intervals{adjusted}"


def _line(contrast: Contrasted, found: Comparison, question: str) -> str:
    effect = contrast.method if question == "this method" else contrast.agent
    row, reference = contrast.row.label, found.reference.label
    label = f"{formatting.plain(row, 60)} − {formatting.plain(reference, 60)}"
    if effect.value is None:
        return f"{label}: {effect.reason}"
    text = f"{label}: {formatting.signed(effect.value, found.unit)}"
    if effect.interval is None:
        return f"{text}, no interval ({effect.reason})"
    low, high = (
        formatting.signed(end, found.unit) for end in (effect.interval.low, effect.interval.high)
    )
    units = "seeds" if question == "this method" else "tasks"
    return f"{text} [{low}, {high}] over {effect.units} {units}{_test(effect)}"


def _test(effect: Effect) -> str:
    kind = "" if effect.interval is None or effect.interval.kind == "t" else effect.interval.kind
    made = f" ({kind})" if kind else ""
    if effect.holm is None:
        return made
    return f"{made}, p {formatting.chance(effect.holm)} ({effect.test})"


def as_json(found: Comparison) -> dict[str, object]:
    """Everything the tables say; every number is finite or null."""
    return {
        "track": found.track.id,
        "unit": found.unit,
        "reference": _side(found.reference),
        "contrasts": [
            {
                **_side(c.row),
                "this_agent": encode(c.agent),
                "this_method": encode(c.method),
                "bounds": list(c.bounds) if c.bounds else None,
            }
            for c in found.contrasts
        ],
        "cautions": list(found.cautions),
    }


def _side(row: Row) -> dict[str, object]:
    return {
        "label": row.label,
        "method": row.method,
        "score": row.score,
        "seeds": [{"seed": seed, "score": value} for seed, value in row.scores],
        "entries": [entry.id for entry in row.entries],
    }
