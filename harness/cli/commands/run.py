"""`harness run`: resolve what was typed, run every method and seed, print the board."""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import count
from pathlib import Path

from rich.console import Console

from harness.cli.run_summary import glance
from harness.config import Config, Scalar, build
from harness.display.console_text import forgiving, plain
from harness.display.trackers import check_trackers
from harness.errors import RunError, UsageError
from harness.evaluate import Interrupted
from harness.execution_config import EngineSection, check_removed
from harness.runs.build import prepare, read_request
from harness.runs.executors import executor
from harness.runs.finish import Terms, hand_over
from harness.runs.resolve import Asked, resolve
from harness.runs.signals import polite
from harness.storage.lock import Lock
from leaderboards.boards.rank import boards
from leaderboards.boards.render import TerminalTable
from leaderboards.boards.render import as_json as boards_json
from leaderboards.records.entry import Entry
from leaderboards.records.store import read_entry
from leaderboards.stats.scores import result


def asked_from(arguments: argparse.Namespace, methods: Sequence[str]) -> Asked:
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
        engine=engine_typed(arguments),
    )


def engine_typed(arguments: argparse.Namespace) -> dict[str, Scalar]:
    """What was typed of `[engine]`, by key."""
    said = {
        "name": getattr(arguments, "engine", None),
        "address": getattr(arguments, "address", None),
        "jobs": getattr(arguments, "jobs", None),
    }
    return {key: value for key, value in said.items() if value is not None}


def engine_for(places: Sequence[Path], typed: Mapping[str, Scalar]) -> EngineSection | None:
    """The engine that runs are gone on with: as begun, but for what was typed.

    Another engine by name starts from its own defaults: settings of the first mean nothing to it.
    """
    if not typed:
        return None
    check_removed(typed)
    begun = read_request(places[0]).engine
    same = typed.get("name", begun.name) == begun.name
    table = {**(asdict(begun) if same else {}), **typed}
    made: EngineSection = build(EngineSection, table, "engine")
    return made


def runs_in(folder: Path) -> list[Path]:
    """The run directories of an experiment, or the folder itself if it is one."""
    if (folder / "config.toml").exists():
        return [folder]
    return sorted(path.parent for path in folder.glob("*/config.toml"))


def _began(place: Path) -> bool:
    """Whether a run has come further than its request."""
    logs = (place / "episodes.jsonl", place / "test.jsonl")
    done = (place / "checkpoint", place / "entry.json", place / "opening.json")
    return any(p.exists() for p in done) or any(p.exists() and p.stat().st_size for p in logs)


def lay_out(requests: Sequence[Config], folder: Path) -> list[Path]:
    """Write every request down, all at once or not at all; refuses a folder where runs began.

    Runs that never began (their model could not be opened, say) are laid out anew.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give another --run-dir.")
    there = runs_in(folder) if folder.exists() else []
    if any(map(_began, there)):
        raise UsageError(
            f"{folder} already holds a run; type harness resume {folder}, "
            "or give another --run-dir."
        )
    if folder.exists() and not there and any(folder.iterdir()):
        raise UsageError(f"{folder} holds other files; give another --run-dir.")
    for place in there:
        Lock(place / "run.lock").release()  # refused while another process is about to begin
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        single = len(requests) == 1
        names = ["" if single else f"{r.method}-seed{r.run.seed}" for r in requests]
        for request, name in zip(requests, names, strict=True):
            prepare(request, part / name)
        if there:
            shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)  # over an empty folder, but not over what another process laid out
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written ({error.strerror}); give another --run-dir."
        ) from error
    return [folder / name for name in names]


def perform(
    places: Sequence[Path],
    quiet: bool,
    stop: Callable[[], bool],
    track: Sequence[str] = (),
    engine: EngineSection | None = None,
) -> list[Entry]:
    """Run what is not finished; `track` names trackers that are told.

    `engine` says where; unset, it is where the runs were begun.
    """
    check_trackers(track)
    if engine is None:
        engine = read_request(places[0]).engine
    else:
        hand_over(places, engine)
    executor(engine, Terms(quiet, stop, track)).work(places)
    return [read_entry(place / "entry.json") for place in places]


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
    engine: EngineSection | None = None,
) -> int:
    """Run, then report; stopped by the user, say how to go on."""
    console = forgiving(Console(stderr=True))
    with polite(lambda line: console.print(line, markup=False)) as stop:
        try:
            entries = perform(places, quiet or as_json, stop, track, engine)
        except Interrupted:
            where = places[0] if len(places) == 1 else places[0].parent
            console.print(f"stopped and saved; go on with: harness resume {where}", markup=False)
            return 130
    report(entries, places, as_json)
    return 0


def new_folder(name: str) -> Path:
    """A new, empty folder in runs/, which no other process is given even in the same second.

    Raises:
        RunError: It cannot be made.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    stem = Path("runs") / f"{stamp}-{safe}"
    tries = (stem if n == 1 else stem.with_name(f"{stem.name}-{n}") for n in count(1))
    try:
        stem.parent.mkdir(exist_ok=True)
        return next(folder for folder in tries if _made(folder))
    except OSError as error:
        raise RunError(
            f"{stem} cannot be written ({error.strerror}); give another --run-dir."
        ) from error


def _made(folder: Path) -> bool:
    """Whether it was this process that made the folder."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def main(arguments: argparse.Namespace) -> int:
    """Train, evaluate once, print the board."""
    check_trackers(arguments.track)
    resolved = resolve(asked_from(arguments, arguments.method))
    console = forgiving(Console(stderr=True))
    requests = resolved.configs
    for note in resolved.notes:
        console.print(plain(note, 1000), markup=False, highlight=False)
    folder = arguments.run_dir or new_folder(requests[0].env.name)
    places = lay_out(requests, folder)
    return go(places, arguments.quiet, arguments.json, arguments.track)
