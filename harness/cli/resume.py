"""`harness resume`: go on where a run stopped; a finished run prints its summary."""

import argparse
from dataclasses import replace
from pathlib import Path

from harness.cli.executors import unfinished
from harness.cli.experiment import read_request
from harness.cli.run import engine_for, engine_typed, go, help_along, runs_in
from harness.errors import UsageError


def existing(folder: Path) -> list[Path]:
    """The runs in a folder, which must exist."""
    places = runs_in(folder) if folder.is_dir() else []
    if not places:
        near = sorted(str(p) for p in Path("runs").glob("*") if p.is_dir())[-5:]
        known = f" Latest: {', '.join(near)}." if near else ""
        raise UsageError(f"{folder} holds no run (no config.toml in it or below).{known}")
    return places


def main(arguments: argparse.Namespace) -> int:
    """Finish what is unfinished; nothing new is created."""
    places = existing(arguments.run)
    engine = engine_for(places, engine_typed(arguments))
    pending = unfinished(places)
    requests = [read_request(place) for place in pending]
    if engine is not None:
        requests = [replace(request, engine=engine) for request in requests]
    if requests and (helped := help_along(requests)) is not None:
        return helped
    return go(places, arguments.quiet, arguments.json, arguments.track, engine)
