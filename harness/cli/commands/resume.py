"""`harness resume`: go on where a run stopped; a finished run prints its summary."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.cli.arguments import Arguments
from harness.cli.commands.run import executor_options, go
from harness.runs.executors import executor_for
from harness.runs.finish import unfinished
from harness.runs.request import read_request, read_tables
from harness.runs.run_dirs import existing
from harness.settings.executor import check_removed, removed
from harness.settings.sources import Scalar


def main(arguments: Arguments) -> int:
    """Finish what is unfinished; nothing new is created."""
    places, typed = existing(arguments.run), executor_options(arguments)
    executor = executor_for(places, typed)
    _check(unfinished(places), typed, arguments.run)
    return go(places, arguments.quiet, arguments.json, arguments.tracker, executor)


def _check(places: Sequence[Path], typed: Mapping[str, Scalar], folder: Path) -> None:
    """Refuse requests that cannot be read, or that were begun with executor options since removed.

    Another executor may take over a run, as its results are the same, unless it had a policy lag.
    """
    for place in places:
        table = read_tables(place).get("executor", {})
        name = table.get("name", "serial")
        lags = "staleness" in removed(table)
        if lags or typed.get("name", name) == name:
            way = f"harness resume {folder} --executor serial goes on without"
            check_removed(table, f"{place}: ", "" if lags else way)
        read_request(place)
