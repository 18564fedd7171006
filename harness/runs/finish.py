"""Finishing a single run in this process, and helpers that every executor shares."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import agents
from harness.callbacks import Callback, Callbacks
from harness.display.safe_console import SafeConsole
from harness.display.trackers import Tracker, open_tracker
from harness.runs.build import run_one
from harness.runs.envs import public_name
from harness.runs.history.tracked_tables import tables_of
from harness.runs.progress_table import ProgressTable, RunProgress
from harness.runs.request import read_request, write_request
from harness.settings.config import Config
from harness.settings.executor import ExecutorSection
from harness.storage.atomic_files import lines
from harness.types import JSON
from leaderboards.records.entry import Entry
from leaderboards.stats.scores import result


@dataclass(frozen=True)
class FinishOptions:
    """Options of finishing runs: quiet or not, a stop check, trackers and callbacks."""

    quiet: bool
    stop: Callable[[], bool]
    track: Sequence[str] = ()
    callbacks: Sequence[Callback] = ()


def finish_one(
    request: Config,
    run_dir: Path,
    watchers: Callbacks,
    stop: Callable[[], bool],
    track: Sequence[str] = (),
) -> Entry:
    """Finish one run in this process, and report it to trackers."""
    trackers: list[Tracker] = []
    try:
        # One by one into the list, so that those opened are closed even if a later one fails.
        trackers += _trackers(track, request, run_dir, watchers)
        entry = run_one(request, run_dir, watchers, stop)
        for tracker in trackers:
            # At the last iteration's step, as trackers expect steps that never fall.
            tracker.score(result(entry).score, len(list(lines(run_dir / "rounds.jsonl"))))
            for table, columns, rows in tables_of(run_dir):
                tracker.table(table, columns, rows)
        return entry
    finally:
        for tracker in trackers:
            tracker.close()


def _trackers(
    names: Sequence[str], request: Config, run_dir: Path, watchers: Callbacks
) -> Iterator[Tracker]:
    """Trackers that record from here on; none for a run that is finished."""
    if (run_dir / "entry.json").exists():
        return
    settings = cast(Mapping[str, JSON], request.to_tables())
    name = f"{public_name(request.env.name)} {request.method} seed {request.run.seed}"
    for kind in names:
        tracker = open_tracker(kind, run_dir, name, settings, watchers.note)
        watchers.add(tracker)
        yield tracker


def rounds_of(request: Config) -> int:
    """The expected number of rounds; the environment may have fewer tasks than a round wants."""
    shape = request.budget
    episodes = shape.tasks * shape.prompts * shape.samples
    return max(1, shape.episodes // episodes) if agents.spec(request.method).plays else 0


def unfinished(run_dirs: Sequence[Path]) -> list[Path]:
    """Runs without an entry."""
    return [run_dir for run_dir in run_dirs if not (run_dir / "entry.json").exists()]


def hand_over(run_dirs: Sequence[Path], executor: ExecutorSection) -> None:
    """Let runs be gone on with by another executor than they began with."""
    for run_dir in unfinished(run_dirs):
        request = read_request(run_dir)
        if request.executor != executor:
            write_request(replace(request, executor=executor), run_dir)


def standings(run_dirs: Sequence[Path], quiet: bool) -> ProgressTable:
    """A view of these runs."""
    runs = [RunProgress(run_dir, rounds_of(read_request(run_dir))) for run_dir in run_dirs]
    return ProgressTable(runs, SafeConsole(stderr=True), quiet)
