"""`harness resume`: continue a stopped run; a finished run prints its summary."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.cli.arguments import Arguments
from harness.cli.commands.run import executor_options, limit_options, run_and_report
from harness.display.console_text import pipe_safe, plain
from harness.display.safe_console import SafeConsole
from harness.runs.checks.settings_changes import change_settings, read_changes
from harness.runs.executors import executor_for
from harness.runs.finish import unfinished
from harness.runs.request import read_request, read_tables
from harness.runs.run_dirs import START, existing
from harness.settings.executor import check_removed, removed
from harness.settings.old_names import written_name
from harness.settings.sources import Scalar, merge, read_sets, read_toml
from harness.storage.lock import Lock


def main(arguments: Arguments) -> int:
    """Finish what is unfinished; nothing new is created."""
    run_dirs, typed = existing(arguments.run), executor_options(arguments)
    # First: the options that are left over would be taken for those of a serial run.
    _check(unfinished(run_dirs), typed, arguments.run)
    executor = executor_for(run_dirs, typed)
    limits = {"limits": limit_options(arguments)}
    allowed, values = read_changes(arguments.changes or ())
    tables = merge(read_sets(arguments.sets or ()), limits, values)
    with ExitStack() as locks:
        for run_dir in unfinished(run_dirs) if any(tables.values()) or allowed else ():
            # To the end, so that no other start changes what was typed here.
            locks.enter_context(Lock(run_dir / START))
        for note in change_settings(run_dirs, tables, allowed):
            pipe_safe(SafeConsole(stderr=True)).print(plain(note, 1000), highlight=False)
        return run_and_report(
            run_dirs, arguments.quiet, arguments.json, arguments.tracker, executor
        )


def _check(run_dirs: Sequence[Path], typed: Mapping[str, Scalar], folder: Path) -> None:
    """Refuse requests that cannot be read, or that were begun with executor options since removed.

    Another executor may take over a run, as its results are the same, unless it had a policy lag.
    """
    for run_dir in run_dirs:
        table = read_tables(run_dir).get("executor", {})
        name = table.get("name", "serial")
        lags = "staleness" in removed(table)
        if lags or typed.get("name", name) == name:
            way = f"harness resume {folder} --executor serial continues without"
            anew = (
                f"a lag is part of what was measured, so start anew: copy {run_dir}/config.toml "
                "without these settings, and type harness run --config COPY"
            )
            section = written_name(read_toml(run_dir / "config.toml"), "executor")
            check_removed(table, section, f"{run_dir}: ", anew if lags else way)
        read_request(run_dir)
