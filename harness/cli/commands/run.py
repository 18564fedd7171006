"""`harness run`: resolve what was typed, run every method and seed, print the board."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.cli.arguments import Arguments
from harness.cli.run_summary import glance
from harness.display.console_text import forgiving, plain
from harness.display.trackers import check_trackers
from harness.evaluate import Interrupted
from harness.runs.executors import perform
from harness.runs.resolve import Asked, resolve
from harness.runs.run_dirs import lay_out, new_folder
from harness.runs.signals import polite
from harness.settings.executor import ExecutorSection
from harness.settings.sources import Scalar
from leaderboards.boards.rank import boards
from leaderboards.boards.render import TerminalTable
from leaderboards.boards.render import as_json as boards_json
from leaderboards.records.entry import Entry
from leaderboards.stats.scores import result


def asked_from(arguments: Arguments, methods: Sequence[str]) -> Asked:
    """What was typed, as a value."""
    return Asked(
        env=arguments.env,
        methods=tuple(methods),
        model=arguments.model,
        seeds=arguments.seeds,
        preset=arguments.preset,
        config=arguments.config,
        sets=tuple(arguments.sets),
        prompt=arguments.prompt,
        episodes=arguments.episodes,
        test_tasks=arguments.test_tasks,
        samples=arguments.samples,
        data_dir=arguments.data_dir,
        accept_data=arguments.accept_data,
        executor=executor_options(arguments),
    )


def executor_options(arguments: Arguments) -> dict[str, Scalar]:
    """The keys of `[executor]` that have flags, where they were given."""
    typed = vars(arguments)  # not every command has these options
    given = {
        "name": typed.get("executor"),
        "address": typed.get("address"),
        "jobs": typed.get("jobs"),
    }
    return {key: value for key, value in given.items() if value is not None}


def report(entries: Sequence[Entry], places: Sequence[Path], as_json: bool) -> None:
    """The board for people, or one JSON object for programs."""
    if not as_json:
        out = forgiving(Console())
        for part in glance(places, entries):
            out.print(part)
        out.print()
        out.print(TerminalTable(boards(entries)))
        where = places[0] if len(places) == 1 else places[0].parent
        forgiving(Console(stderr=True)).print(
            f"kept in {where} — look closer: harness show {where}", markup=False
        )
        return
    runs = [
        {
            "run_dir": str(place),
            "method": entry.method,
            "seed": entry.seed,
            "entry": entry.id,
            "track": entry.track.id,
            "score": told.score,
            "episodes": entry.spent.episodes,
            "acting_tokens": entry.spent.acting_tokens,
            "reflection_tokens": entry.spent.reflection_tokens,
            "gradient_steps": entry.spent.gradient_steps,
            "unscored": told.unscored,
            "truncated": told.truncated,
        }
        for place, entry, told in zip(places, entries, map(result, entries), strict=True)
    ]
    json.dump({"runs": runs, **boards_json(boards(entries))}, sys.stdout, allow_nan=False)
    print()


def go(
    places: Sequence[Path],
    quiet: bool,
    as_json: bool,
    track: Sequence[str] = (),
    executor: ExecutorSection | None = None,
) -> int:
    """Run, then report; stopped by the user, say how to go on."""
    console = forgiving(Console(stderr=True))
    with polite(lambda line: console.print(line, markup=False)) as stop:
        try:
            entries = perform(places, quiet or as_json, stop, track, executor)
        except Interrupted:
            where = places[0] if len(places) == 1 else places[0].parent
            console.print(f"stopped and saved; go on with: harness resume {where}", markup=False)
            return 130
    report(entries, places, as_json)
    return 0


def main(arguments: Arguments) -> int:
    """Train, evaluate once, print the board."""
    check_trackers(arguments.tracker)
    resolved = resolve(asked_from(arguments, arguments.method))
    console = forgiving(Console(stderr=True))
    requests = resolved.configs
    for note in resolved.notes:
        console.print(plain(note, 1000), markup=False, highlight=False)
    folder = arguments.run_dir or new_folder(requests[0].env.name)
    places = lay_out(requests, folder)
    return go(places, arguments.quiet, arguments.json, arguments.tracker)
