"""`harness resume`: go on where a run stopped; a finished run prints its summary."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.cli.arguments import Arguments
from harness.cli.commands.run import engine_typed, go
from harness.config import Scalar, read_toml
from harness.execution_config import check_removed, removed
from harness.runs.build import read_request
from harness.runs.executors import engine_for
from harness.runs.finish import unfinished
from harness.runs.run_dirs import existing


def main(arguments: Arguments) -> int:
    """Finish what is unfinished; nothing new is created."""
    places, typed = existing(arguments.run), engine_typed(arguments)
    engine = engine_for(places, typed)
    _check(unfinished(places), typed, arguments.run)
    return go(places, arguments.quiet, arguments.json, arguments.tracker, engine)


def _check(places: Sequence[Path], typed: Mapping[str, Scalar], folder: Path) -> None:
    """Refuse requests that cannot be read, or that were begun with engine options since removed.

    Another engine may take over a run, as its results are the same, unless it had a policy lag.
    """
    for place in places:
        table = read_toml(place / "config.toml").get("engine", {})
        name = table.get("name", "serial")
        lags = "staleness" in removed(table)
        if lags or typed.get("name", name) == name:
            way = f"harness resume {folder} --executor serial goes on without"
            check_removed(table, f"{place}: ", "" if lags else way)
        read_request(place)
