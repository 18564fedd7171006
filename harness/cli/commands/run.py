"""`harness run`: resolve the request, run every method and seed, print the leaderboard."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.cli.arguments import Arguments
from harness.cli.run_summary import run_summary
from harness.display.console_text import pipe_safe, plain
from harness.display.safe_console import SafeConsole
from harness.display.trackers import check_trackers
from harness.evaluate import Interrupted
from harness.runs.executors import perform
from harness.runs.limits import LimitReached
from harness.runs.resolve import Requested, resolve
from harness.runs.run_dirs import laid_out, new_folder
from harness.runs.signals import stop_on_signals
from harness.settings.executor import ExecutorSection
from harness.settings.sources import Scalar
from leaderboards.boards.rank import boards
from leaderboards.boards.render import TerminalTable
from leaderboards.boards.render import as_json as boards_json
from leaderboards.records.entry import Entry
from leaderboards.stats.scores import result


def request_from(arguments: Arguments, methods: Sequence[str]) -> Requested:
    """The request as it was typed."""
    return Requested(
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
        limits=limit_options(arguments),
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


def limit_options(arguments: Arguments) -> dict[str, Scalar]:
    """The keys of `[limits]` whose flags were given."""
    typed = vars(arguments)  # not every command has these options
    given = {"max_cost": typed.get("max_cost"), "max_hours": typed.get("max_hours")}
    return {key: value for key, value in given.items() if value is not None}


def report(entries: Sequence[Entry], run_dirs: Sequence[Path], as_json: bool) -> None:
    """Print summary and leaderboard, or one JSON object for programs."""
    if not as_json:
        out = pipe_safe(SafeConsole())
        for part in run_summary(run_dirs, entries):
            out.print(part)
        out.print()
        out.print(TerminalTable(boards(entries)))
        where = run_dirs[0] if len(run_dirs) == 1 else run_dirs[0].parent
        pipe_safe(SafeConsole(stderr=True)).print(
            f"stored in {where}; for details: harness show {where}"
        )
        return
    runs = [
        {
            "run_dir": str(run_dir),
            "method": entry.method,
            "seed": entry.seed,
            "entry": entry.id,
            "track": entry.track.id,
            "score": score.score,
            "episodes": entry.spent.episodes,
            "acting_tokens": entry.spent.acting_tokens,
            "reflection_tokens": entry.spent.reflection_tokens,
            "gradient_steps": entry.spent.gradient_steps,
            "unscored": score.unscored,
            "truncated": score.truncated,
        }
        for run_dir, entry, score in zip(run_dirs, entries, map(result, entries), strict=True)
    ]
    json.dump({"runs": runs, **boards_json(boards(entries))}, sys.stdout, allow_nan=False)
    print()


def run_and_report(
    run_dirs: Sequence[Path],
    quiet: bool,
    as_json: bool,
    track: Sequence[str] = (),
    executor: ExecutorSection | None = None,
) -> int:
    """Run, then report; where the user stops it, say how to continue."""
    console = pipe_safe(SafeConsole(stderr=True))
    where = run_dirs[0] if len(run_dirs) == 1 else run_dirs[0].parent
    with stop_on_signals(lambda line: console.print(line)) as stop:
        try:
            entries = perform(run_dirs, quiet or as_json, stop, track, executor)
        except LimitReached as reached:
            console.print(f"{reached.saved}{reached}", soft_wrap=True)
            return reached.exit_code
        except Interrupted:
            console.print(
                f"stopped and saved; continue with: harness resume {where}", soft_wrap=True
            )
            return 130
        except KeyboardInterrupt as stopped:
            stopped.add_note(
                f"The last finished iteration is saved; continue with: harness resume {where}"
            )
            raise
    report(entries, run_dirs, as_json)
    return 0


def main(arguments: Arguments) -> int:
    """Train, evaluate once, print the leaderboard."""
    check_trackers(arguments.tracker)
    resolved = resolve(request_from(arguments, arguments.method))
    console = pipe_safe(SafeConsole(stderr=True))
    requests = resolved.configs
    for note in resolved.notes:
        console.print(plain(note, 1000), highlight=False)
    folder = arguments.run_dir or new_folder(requests[0].env.name)
    with laid_out(requests, folder) as run_dirs:
        return run_and_report(run_dirs, arguments.quiet, arguments.json, arguments.tracker)
