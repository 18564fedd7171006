"""`harness audit`: overlap of a learnt prompt with tasks and answers, and between the splits.

It reads every problem with its answer, including the test split, so its output must not be used for
training. It prints ids and counts, never a task's text.
"""

import json
from collections.abc import Sequence

from rich.text import Text

from harness.cli.arguments import Arguments
from harness.cli.print_analysis import open_analysis, record_and_print
from harness.display.console_text import pipe_safe, plain
from harness.display.safe_console import SafeConsole
from harness.runs.analysis.audit import (
    AuditFinding,
    audit,
    overlap_record,
    record_overlap,
    with_and_without,
)
from harness.runs.analysis.reevaluation import finished


def main(arguments: Arguments) -> int:
    """Report the overlap, then evaluate the prompt with and without the suspect principles."""
    run_dir = finished(arguments.run)
    with open_analysis(run_dir, "audit", arguments) as analysis:
        found = audit(analysis.request, analysis.agent.prompt)
        if not arguments.json:
            _say(found)
        values = overlap_record(found)
        kept = tuple(p.text for p in found.principles if not p.suspect)
        if arguments.no_play or len(kept) == len(found.principles):
            record = record_overlap(analysis, values)
            if arguments.json:
                print(json.dumps({**record, "record": str(analysis.record_path)}))
            return 0
        result = with_and_without(analysis, kept, values)
        record_and_print(analysis, result, arguments.json)
    return 0


def _say(found: AuditFinding) -> None:
    console = pipe_safe(SafeConsole())
    for split, count in found.read.items():
        console.print(f"{split}: {count:,} problems read")
    for principle in found.principles:
        console.print(Text(f"principle {principle.number}: {plain(principle.text, 100)}"))
        for split, overlap in (("train", principle.train), ("test", principle.test)):
            for what, ids in (("words", overlap.phrases), ("the answer", overlap.answers)):
                if ids:
                    line = f"  ! repeats {what} of {len(ids)} {split} problems: {_some(ids)}"
                    console.print(Text(line, style="yellow"))
        if not principle.suspect:
            console.print("  no overlap")
    if not found.principles:
        console.print("the prompt has no learnt text")
    same, alike = found.twins.same, found.twins.alike
    console.print(
        f"test problems also in train: {len(same)} identical, {len(alike)} near duplicates"
    )
    for pair in (*same, *(pair[:2] for pair in alike)):
        console.print(Text(f"  ! {_some(pair)}", style="yellow"))


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return ", ".join(plain(id, 60) for id in ids[:5]) + more
