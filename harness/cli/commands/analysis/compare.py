"""`harness compare`: paired differences between runs or methods, with confidence intervals."""

import json
import sys
from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from harness.cli.arguments import Arguments
from harness.display.console_text import pipe_safe
from harness.display.fitted_table import FittedTable
from harness.display.safe_console import SafeConsole
from harness.errors import UsageError
from harness.runs.results.select_rows import rows_for
from leaderboards.boards import formatting
from leaderboards.boards.compare import Comparison, RowComparison, TrackMismatch, compare
from leaderboards.boards.model import Row, track_differences
from leaderboards.records.strict_json import encode
from leaderboards.stats.paired import Effect

DIFFERENT = 1
"""Exit code of --why-not if rows cannot be compared, like that of `diff`."""


def main(arguments: Arguments) -> int:
    """Compare every row with the first; exit code 2 if their Tracks differ."""
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
    except TrackMismatch as error:
        command = " ".join(["harness compare --why-not", *arguments.sides])
        raise UsageError(f"{error}; {command} shows the values.") from error
    except ValueError as error:
        raise UsageError(f"{error}; leave out --interval bootstrap.") from error
    if arguments.json:
        json.dump(as_json(found), sys.stdout, allow_nan=False)
        print()
        return 0
    console = pipe_safe(SafeConsole())
    for part in shown(found):
        console.print(part)
    return 0


def _why_not(rows: list[Row], as_json_: bool) -> int:
    """Print every field in which a row's Track differs from the reference's."""
    here = rows[0].entries[0].track
    apart = {row.label: track_differences(here, row.entries[0].track) for row in rows[1:]}
    if as_json_:
        print(json.dumps({label: [encode(d) for d in found] for label, found in apart.items()}))
    else:
        console = pipe_safe(SafeConsole())
        for label, found in apart.items():
            head = f"{formatting.plain(rows[0].label)} and {formatting.plain(label)}: "
            result = "one Track, so they can be compared" if not found else "the Tracks differ in"
            console.print(Text(head + result))
            for d in found:
                values = f"{formatting.plain(d.here)} and {formatting.plain(d.there)}"
                console.print(Text(f"  {d.field}: {values}"))
    return DIFFERENT if any(apart.values()) else 0


def shown(found: Comparison) -> Iterator[RenderableType]:
    """The compared rows, the differences over seeds and over items, then the cautions."""
    yield Text(formatting.title(found.track), style="bold")
    yield Text()
    heads = ("", "seeds", "score", "CI over\nseeds", "CI over\nitems", "episodes", "tokens")
    sides = []
    for row in (found.reference, *(c.row for c in found.contrasts)):
        tokens = row.cost.acting_tokens + row.cost.reflection_tokens
        sides.append(
            (
                formatting.plain(row.label, 60),
                str(len(row.scores)),
                formatting.number(row.score, found.unit),
                formatting.interval_cell(row.seed_estimate, found.unit),
                formatting.interval_cell(row.item_estimate, found.unit),
                formatting.count(row.cost.episodes),
                formatting.count(tokens),
            )
        )
    yield FittedTable(heads, sides)
    for over_seeds in (True, False):
        yield Text()
        yield Text(_heading(over_seeds, found))
        for contrast in found.contrasts:
            yield Text(f"· {_line(contrast, found, over_seeds)}")
    yield Text()
    for contrast in found.contrasts:
        if contrast.bounds is not None:
            low, high = (formatting.signed(b, found.unit) for b in contrast.bounds)
            name = formatting.plain(contrast.row.label, 60)
            caution = f"! {name}: {low} to {high} for any reward of the unscored outcomes"
            yield Text(caution, style="yellow")
    for caution in found.cautions:
        yield Text(f"! {formatting.plain(caution)}", style="yellow")


def _heading(over_seeds: bool, found: Comparison) -> str:
    unit = ", in points" if found.unit else ""
    if over_seeds:
        what = f"{formatting.CI_SEEDS}: differences between training runs, paired by seed"
    else:
        what = f"{formatting.CI_ITEMS}: differences between these agents, paired by task"
    several = len(found.contrasts)
    adjusted = f"; {formatting.adjusted_for(several)}" if several > 1 else ""
    return f"{what}{unit}, 95 % intervals{adjusted}"


def _line(contrast: RowComparison, found: Comparison, over_seeds: bool) -> str:
    effect = contrast.method if over_seeds else contrast.agent
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
    units = "seeds" if over_seeds else "tasks"
    return f"{text} [{low}, {high}] over {effect.units} {units}{_test(effect)}"


def _test(effect: Effect) -> str:
    kind = "" if effect.interval is None or effect.interval.kind == "t" else effect.interval.kind
    made = f" ({kind})" if kind else ""
    if effect.holm is None:
        return made
    return f"{made}, p {formatting.p_text(effect.holm)} ({effect.test})"


def as_json(found: Comparison) -> dict[str, object]:
    """All values of the tables; every number is finite or null."""
    return {
        "track": found.track.id,
        "unit": found.unit,
        "reference": _row_json(found.reference),
        "contrasts": [
            {
                **_row_json(c.row),
                "this_agent": encode(c.agent),
                "this_method": encode(c.method),
                "bounds": list(c.bounds) if c.bounds else None,
            }
            for c in found.contrasts
        ],
        "cautions": list(found.cautions),
    }


def _row_json(row: Row) -> dict[str, object]:
    return {
        "label": row.label,
        "method": row.method,
        "score": row.score,
        "seeds": [{"seed": seed, "score": value} for seed, value in row.scores],
        "entries": [entry.id for entry in row.entries],
    }
