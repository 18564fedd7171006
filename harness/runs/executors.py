"""Executors of runs: this process one by one, processes side by side, or a cluster.

With each of them a run is its run directory: finished work is not repeated, a run that was begun
continues from its last save, and the results are the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

from rich.console import RenderableType

from harness.callbacks import Callback, Callbacks
from harness.display.console import Lines, LiveView, View
from harness.display.console_text import pipe_safe
from harness.display.notebook import NotebookView, in_notebook
from harness.display.safe_console import SafeConsole
from harness.display.trackers import check_trackers
from harness.errors import UsageError
from harness.runs.finish import (
    FinishOptions,
    finish_one,
    hand_over,
    rounds_of,
    standings,
    unfinished,
)
from harness.runs.limits import LimitReached
from harness.runs.progress_table import title
from harness.runs.request import read_request, write_request
from harness.runs.subprocess_pool import Job, SubprocessPool, harness_command
from harness.settings.build import build
from harness.settings.executor import ExecutorSection, check_removed
from harness.settings.sources import Scalar
from harness.system.hardware import cores, visible_gpus
from leaderboards.records.entry import Entry
from leaderboards.records.store import read_entry

_ABOVE = 8  # rows of other runs above the view of the one that is computed


class Executor(Protocol):
    """Finishes runs."""

    def work(self, run_dirs: Sequence[Path]) -> None:
        """Finish every run that is not.

        Raises:
            Interrupted: The user asked to stop; what is stored is whole and can be resumed.
            HarnessError: A run failed; what the others have saved is kept.
        """
        ...


def make_executor(executor: ExecutorSection, options: FinishOptions) -> Executor:
    """The executor of that name; ray is imported here, and only for its own."""
    if executor.name == "processes":
        return Processes(executor.jobs, options)
    if executor.name == "ray":
        from harness.runs.ray.ray_runs import RayRuns

        return RayRuns(executor, options)
    return Serial(options)


class Serial:
    """One run after the other, in this process."""

    def __init__(self, options: FinishOptions) -> None:
        self._options = options

    def work(self, run_dirs: Sequence[Path]) -> None:
        """See `Executor.work`."""
        console = pipe_safe(SafeConsole(stderr=True))
        threads = 0
        limited: list[str] = []
        # Of several runs the others stand in a table above the one that is computed.
        others = standings(run_dirs, quiet=True) if len(run_dirs) > 1 else None

        def above() -> RenderableType:
            assert others is not None
            others.look()
            return others.draw(_ABOVE)

        for run_dir in run_dirs:
            request = read_request(run_dir)
            if others is not None:
                others.look(at_once=True)
                others.state(run_dir, "runs")
            # Measured once an experiment: two of its runs should not differ in it by accident.
            model = replace(request.model, threads=request.model.threads or threads)
            request = replace(request, model=model)
            view: View | None = None
            watchers = Callbacks(self._options.callbacks)
            if not self._options.quiet:
                name, rounds = title(request), rounds_of(request)
                if in_notebook():
                    view = NotebookView(console, name, rounds)
                elif console.is_terminal:
                    view = LiveView(console, name, rounds, above if others else None)
                else:
                    view = Lines(console, name, rounds)
                watchers.add(view)
            try:
                finish_one(request, run_dir, watchers, self._options.stop, self._options.track)
                # The run has written what it measured into its own request.
                threads = read_request(run_dir).model.threads
            except LimitReached as reached:
                limited.append(str(reached))  # the other runs have limits of their own
            finally:
                if view is not None:
                    view.close()
        if limited:
            raise LimitReached("; ".join(limited))


class Processes:
    """Runs side by side, each in a process that resumes it; of several GPUs each sees one."""

    def __init__(self, jobs: int, options: FinishOptions) -> None:
        # As many as there is room for: a GPU each, or a core each where there is no GPU.
        self._jobs = jobs or len(visible_gpus()) or cores()
        self._options = options

    def work(self, run_dirs: Sequence[Path]) -> None:
        """See `Executor.work`."""
        view = standings(run_dirs, self._options.quiet)
        wanted = {self._job(run_dir): run_dir for run_dir in unfinished(run_dirs)}

        def ended(job: Job, seconds: float) -> None:
            view.look()

        def look(running: Sequence[Job]) -> None:
            for job in running:
                view.state(wanted[job], "runs")
            view.look()

        try:
            crew = SubprocessPool(self._jobs, ended, look, visible_gpus())
            crew.work(list(wanted), self._options.stop)
        finally:
            view.close()

    def _job(self, run_dir: Path) -> Job:
        # One thread unless told otherwise, as the processes beside it take the other cores.
        request = read_request(run_dir)
        model = replace(request.model, threads=request.model.threads or 1)
        # With the default executor: the process must do the run itself and start no processes.
        asked = replace(request, model=model, executor=ExecutorSection())
        if asked != request:
            write_request(asked, run_dir)
        track = ("--tracker", ",".join(self._options.track)) if self._options.track else ()
        command = harness_command("resume", str(run_dir), "--json", *track)
        return Job(title(request), command, run_dir / "stderr.log")


def executor_for(run_dirs: Sequence[Path], typed: Mapping[str, Scalar]) -> ExecutorSection | None:
    """The executor that runs are gone on with: as begun, but for what was typed.

    Another executor starts from its own defaults: settings of the first mean nothing to it.
    """
    if not typed:
        return None
    check_removed(typed)
    begun = read_request(run_dirs[0]).executor
    same = typed.get("name", begun.name) == begun.name
    table = {**(asdict(begun) if same else {}), **typed}
    return build(ExecutorSection, table, "executor")


def perform(
    run_dirs: Sequence[Path],
    quiet: bool,
    stop: Callable[[], bool],
    track: Sequence[str] = (),
    executor: ExecutorSection | None = None,
    callbacks: Sequence[Callback] = (),
) -> list[Entry]:
    """Run what is not finished; `track` names trackers that are told, and `callbacks` get events.

    `executor` says where; unset, it is where the runs were begun.

    Raises:
        UsageError: Callbacks are given for runs of other processes.
    """
    # Before anything runs, so that a missing package is known at once.
    check_trackers(track)
    if executor is None:
        executor = read_request(run_dirs[0]).executor
    else:
        hand_over(run_dirs, executor)
    if callbacks and executor.name != "serial":
        raise UsageError(
            f"Callbacks get events of this process, but executor.name is {executor.name}; leave "
            "them out, or set executor.name=serial."
        )
    make_executor(executor, FinishOptions(quiet, stop, track, callbacks)).work(run_dirs)
    return [read_entry(run_dir / "entry.json") for run_dir in run_dirs]
