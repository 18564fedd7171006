"""A site from entries, built in a temporary folder and moved into place when complete."""

import gc
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType

from leaderboards.boards.formatting import plain
from leaderboards.boards.model import Board
from leaderboards.boards.rank import boards
from leaderboards.records.entry import Track
from leaderboards.records.store import entry_files, gc_paused, read_entry
from leaderboards.records.strict_json import JSON, RecordError, canonical, encode
from leaderboards.site.boards import board_numbers, board_page, columns, lines
from leaderboards.site.hero import hero
from leaderboards.site.log import RunLog, log_of
from leaderboards.site.matrix import distinguishing_fields, matrix
from leaderboards.site.page import HERE, render
from leaderboards.site.plots import PlotCurve, curve
from leaderboards.site.reading import CompactEntry, compact, identity, restore
from leaderboards.site.runs import write_run
from leaderboards.site.script import write_script

MARK = "site.json"  # marks a folder as a site of ours, which may be replaced
_ONE_PROCESS = 200  # with fewer entries, starting other processes takes longer than it saves
_TONES = 8

LogReader = Callable[[Path], RunLog | None]
"""The log of the run that an entry file belongs to, or None; must be picklable for workers."""


@dataclass(frozen=True, slots=True)
class SiteSummary:
    """Counts of what was written; `problems` has a sentence for each file that is not an entry.

    `with_logs` counts the runs whose learning curves are drawn.
    """

    folder: Path
    entries: int
    boards: int
    with_logs: int
    problems: tuple[str, ...]


def no_log(path: Path) -> RunLog | None:
    """For entries without a run beside them."""
    return None


def build_site(
    folder: Path,
    paths: Iterable[Path | str],
    read_log: LogReader = no_log,
    jobs: int = 1,
    methods: Mapping[str, str] = MappingProxyType({}),
) -> SiteSummary:
    """Read all entries in `paths` and write the site; the old one goes when the new one is whole.

    `jobs` is the number of processes that read entries and write run pages; 0 means one for each
    core, which a script may use only under `if __name__ == "__main__"`. `methods` describes
    methods by name, in a sentence each.

    Raises:
        RecordError: if `folder` holds anything but a site.
    """
    with _in_place(folder) as part, gc_paused():
        problems: list[str] = []
        found_files = (file for given in paths for file in entry_files(Path(given), problems))
        files = list(dict.fromkeys(found_files))
        found: dict[str, CompactEntry] = {}
        for read in _all(partial(_one, folder=part, read_log=read_log), files, jobs):
            if isinstance(read, str):
                problems.append(read)
            # An entry may be met twice, published and in its run directory: the one with a log is
            # kept.
            elif read.id not in found or found[read.id].curve is None:
                found[read.id] = read
        curves = {id: one.curve for id, one in found.items() if one.curve is not None}
        made = boards([restore(one) for one in found.values()])
        _write_boards(part, made, curves)
        _write_index(part, made, methods, problems)
        summary: JSON = {"entries": len(found), "boards": len(made), "problems": problems}
        (part / MARK).write_text(canonical(summary) + "\n", encoding="ascii")
    return SiteSummary(folder, len(found), len(made), len(curves), tuple(problems))


@contextmanager
def _in_place(folder: Path) -> Iterator[Path]:
    """A temporary folder that replaces the old site unless an error is raised."""
    if (
        folder.exists()
        and not (folder / MARK).is_file()
        and (not folder.is_dir() or any(folder.iterdir()))
    ):
        problem = f"holds something other than a site (no {MARK}); give another folder"
        raise RecordError(problem, source=str(folder))
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        for name in ("runs", "boards"):
            (part / name).mkdir(parents=True)
        assets = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HERE / "assets", part / "assets", ignore=assets)
        yield part
        # Two renames: for a moment there may be no site, but never a part of one.
        old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _all(
    work: Callable[[Path], CompactEntry | str], files: Sequence[Path], jobs: int
) -> Iterator[CompactEntry | str]:
    """`work` on every file, in the files' order, in as many processes as help."""
    jobs = jobs or min(os.cpu_count() or 1, 16)
    if jobs == 1 or len(files) < _ONE_PROCESS:
        yield from map(work, files)
        return
    # Spawned, not forked: a fork would copy the locks of the caller's threads.
    # Garbage collection is made rare: a worker keeps nothing of an entry but what it returns.
    with ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=gc.set_threshold, initargs=(100_000, 20, 100)
    ) as pool:
        yield from pool.map(work, files, chunksize=25)


def _one(path: Path, folder: Path, read_log: LogReader) -> CompactEntry | str:
    """Read one entry and write its page; return its compact form, or the problem as a sentence."""
    try:
        entry = read_entry(path)
        log = read_log(path) or log_of(entry)
    except RecordError as error:
        return str(error)
    id, outcomes = identity(entry)
    try:
        write_run(folder, entry, id, outcomes, log)
        return compact(entry, id, curve(log.rounds) if log and log.rounds else None)
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        # A log whose values are well-formed and absurd, such as seconds whose sum is infinite.
        for made in (folder / "runs").glob(f"{id}.*"):
            made.unlink()
        return f"{path}: cannot be drawn ({type(error).__name__}: {plain(error)})."


def _write_boards(folder: Path, made: Sequence[Board], curves: Mapping[str, PlotCurve]) -> None:
    tones = _tones(made)
    families: dict[str, list[Board]] = {}
    for board in made:
        families.setdefault(_but_budget(board.track), []).append(board)
    for board in made:
        shown = columns(board)
        rows = lines(board, shown, tones)
        others = [one for one in families[_but_budget(board.track)] if one is not board]
        groups = [one.rows for one in (board, *others)]
        numbers = board_numbers(board, shown, rows, groups, curves, tones)
        drawn = "learning" in numbers["plots"]
        place = folder / "boards" / board.track.id
        write_script(place.with_suffix(".js"), "board", numbers)
        place.with_suffix(".html").write_text(board_page(board, shown, rows, drawn), "utf-8")


def _write_index(
    folder: Path, made: Sequence[Board], methods: Mapping[str, str], problems: Sequence[str]
) -> None:
    first = render(
        "index.html",
        boards=[(board, _entries(board)) for board in made],
        apart=distinguishing_fields(made),
        matrix=matrix(made),
        hero=hero(made, _tones(made)),
        described=[
            (plain(n, 60), plain(methods[n], 300)) for n in sorted(_methods(made)) if n in methods
        ],
        entries=sum(map(_entries, made)),
        methods=len(_methods(made)),
        environments=len({board.track.env for board in made}),
        problems=[plain(problem, 400) for problem in problems],
    )
    (folder / "index.html").write_text(first, encoding="utf-8")


def _entries(board: Board) -> int:
    return sum(len(row.entries) for row in board.rows)


def _methods(made: Sequence[Board]) -> set[str]:
    return {row.method for board in made for row in board.rows}


def _but_budget(track: Track) -> str:
    return canonical({**encode(track), "budget_episodes": 0})


def _tones(made: Sequence[Board]) -> dict[str, int]:
    """One colour for each method on all pages, repeating after eight; `base` is grey."""
    names = sorted(_methods(made) - {"base"})
    return {name: number % _TONES for number, name in enumerate(names)}
