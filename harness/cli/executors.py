"""Who finishes runs: this process one by one, processes side by side, or a cluster.

Whoever it is, a run is its run directory: what is finished is not repeated, what was begun goes on
from its last save, and what comes of it is the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

from rich.console import Console

import agents
from harness.cli.crew import Crew, Job, harness_command
from harness.cli.experiment import prepare, read_request, run_one
from harness.cli.standings import Standing, Standings, title
from harness.cli.worlds import public_name
from harness.config import Config
from harness.console import Lines, LiveView
from harness.durable import lines
from harness.engine import EngineSection
from harness.machine import cores, visible_gpus
from harness.printed import forgiving
from harness.trackers import Tracker, open_tracker
from harness.types import JSON
from harness.watch import Watchers
from leaderboards.record import Entry
from leaderboards.scores import result


@dataclass(frozen=True)
class Terms:
    """How runs are finished: in silence or not, until when, told to which trackers."""

    quiet: bool
    stop: Callable[[], bool]
    track: Sequence[str] = ()


class Executor(Protocol):
    """Finishes runs."""

    def work(self, places: Sequence[Path]) -> None:
        """Finish every run that is not.

        Raises:
            Interrupted: The user asked to stop; what is stored is whole and can be resumed.
            HarnessError: A run failed; what the others have saved is kept.
        """
        ...


def executor(engine: EngineSection, terms: Terms) -> Executor:
    """The executor of that name; ray is imported here, and only for its own."""
    if engine.name == "processes":
        return Processes(engine.jobs, terms)
    if engine.name == "ray":
        from harness.cli.ray_runs import RayRuns

        return RayRuns(engine, terms)
    return Serial(terms)


def finish_one(
    request: Config,
    place: Path,
    watchers: Watchers,
    stop: Callable[[], bool],
    track: Sequence[str] = (),
) -> Entry:
    """Finish one run in this process, and tell trackers of it."""
    trackers: list[Tracker] = []
    try:
        trackers += _trackers(track, request, place, watchers)
        entry = run_one(request, place, watchers, stop)
        for tracker in trackers:
            tracker.score(result(entry).score, len(list(lines(place / "rounds.jsonl"))))
        return entry
    finally:
        for tracker in trackers:
            tracker.close()


def _trackers(
    names: Sequence[str], request: Config, place: Path, watchers: Watchers
) -> Iterator[Tracker]:
    """Trackers that look on from here; a run that is finished has nothing more to tell."""
    if (place / "entry.json").exists():
        return
    settings = cast(Mapping[str, JSON], request.to_tables())
    name = f"{public_name(request.env.name)} {request.method} seed {request.run.seed}"
    for kind in names:
        tracker = open_tracker(kind, place, name, settings, watchers.note)
        watchers.add(tracker)
        yield tracker


def rounds_of(request: Config) -> int:
    """About how many rounds there will be; the world may have fewer tasks than a round wants."""
    shape = request.budget
    episodes = shape.tasks * shape.prompts * shape.samples
    return max(1, shape.episodes // episodes) if agents.spec(request.method).plays else 0


def unfinished(places: Sequence[Path]) -> list[Path]:
    """Runs without an entry."""
    return [place for place in places if not (place / "entry.json").exists()]


def hand_over(places: Sequence[Path], engine: EngineSection) -> None:
    """Let runs be gone on with by another engine than they began with."""
    for place in unfinished(places):
        request = read_request(place)
        if request.engine != engine:
            prepare(replace(request, engine=engine), place)


def standings(places: Sequence[Path], quiet: bool) -> Standings:
    """A view of these runs."""
    runs = [Standing(place, rounds_of(read_request(place))) for place in places]
    return Standings(runs, Console(stderr=True), quiet)


class Serial:
    """One run after the other, in this process."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms

    def work(self, places: Sequence[Path]) -> None:
        """See `Executor.work`."""
        console = forgiving(Console(stderr=True))
        threads = 0
        for place in places:
            request = read_request(place)
            # Measured once an experiment: two of its runs should not differ in it by accident.
            model = replace(request.model, threads=request.model.threads or threads)
            request = replace(request, model=model)
            view = None
            watchers = Watchers([])
            if not self._terms.quiet:
                kind = LiveView if console.is_terminal else Lines
                view = kind(console, title(request), rounds_of(request))
                watchers.add(view)
            try:
                finish_one(request, place, watchers, self._terms.stop, self._terms.track)
                threads = read_request(place).model.threads
            finally:
                if view is not None:
                    view.close()


class Processes:
    """Runs side by side, each in a process that resumes it; of several GPUs each sees one."""

    def __init__(self, jobs: int, terms: Terms) -> None:
        self._jobs, self._terms = jobs or cores(), terms

    def work(self, places: Sequence[Path]) -> None:
        """See `Executor.work`."""
        view = standings(places, self._terms.quiet)
        wanted = {self._job(place): place for place in unfinished(places)}

        def ended(job: Job, seconds: float) -> None:
            view.look()

        def look(running: Sequence[Job]) -> None:
            for job in running:
                view.state(wanted[job], "runs")
            view.look()

        try:
            crew = Crew(self._jobs, ended, look, visible_gpus())
            crew.work(list(wanted), self._terms.stop)
        finally:
            view.close()

    def _job(self, place: Path) -> Job:
        # One thread unless told otherwise, as the processes beside it take the other cores.
        request = read_request(place)
        model = replace(request.model, threads=request.model.threads or 1)
        prepare(replace(request, model=model, engine=EngineSection()), place)
        track = ("--track", ",".join(self._terms.track)) if self._terms.track else ()
        command = harness_command("resume", str(place), "--json", *track)
        return Job(title(request), command, place / "stderr.log")
