"""`harness watch`: runs under way or finished, followed through their directories."""

import time

from harness.cli.arguments import Arguments
from harness.display.safe_console import SafeConsole
from harness.runs.finish import rounds_of
from harness.runs.history.run_progress import RunProgress
from harness.runs.progress_table import ProgressTable
from harness.runs.request import read_request
from harness.runs.run_dirs import existing, latest

_EVERY = 0.5  # seconds between looks
_IDLE = 5.0  # seconds without a running process before watching ends
_BETWEEN = 60.0  # the same where runs wait: a process that begins one loads the model's libraries


def main(arguments: Arguments) -> int:
    """Follow until no process works on the runs; Ctrl-C ends the watching, and no run."""
    found = existing(arguments.run or latest())
    runs = [RunProgress(run_dir, rounds_of(read_request(run_dir))) for run_dir in found]
    console = SafeConsole()
    _look(runs)
    follows = not arguments.once and any(run.state == "runs" for run in runs)
    table = ProgressTable(runs, console, quiet=not follows)
    try:
        if follows:
            _follow(table, runs)
    except KeyboardInterrupt:
        pass  # only of watching
    finally:
        table.close()
    if console.is_terminal:
        console.print(table.screen())
    elif not follows:
        for run in runs:
            table.note(table.line(run))
    return 0


def _follow(table: ProgressTable, runs: list[RunProgress]) -> None:
    last = time.monotonic()
    while any(run.state != "done" for run in runs):
        waiting = any(run.state == "waits" for run in runs)
        if time.monotonic() - last > (_BETWEEN if waiting else _IDLE):
            break
        time.sleep(_EVERY)
        _look(runs)
        table.look()
        if any(run.state == "runs" for run in runs):
            last = time.monotonic()


def _look(runs: list[RunProgress]) -> None:
    """The states, which no executor reports here."""
    for run in runs:
        if run.state != "done":
            begun = (run.place / "identity.json").exists()
            run.state = "runs" if run.running else "stopped" if begun else "waits"
            run.look()
