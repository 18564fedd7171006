"""Entries to a folder of pages, written beside its place and moved there when it is whole."""

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

from leaderboards.boards.formatting import plain
from leaderboards.boards.model import Board
from leaderboards.boards.rank import boards
from leaderboards.records.entry import Track
from leaderboards.records.store import entry_files, read_entry, uncollected
from leaderboards.records.strict_json import JSON, RecordError, canonical, encode
from leaderboards.site.boards import board_numbers, board_page, columns, lines
from leaderboards.site.log import RunLog
from leaderboards.site.matrix import apart, matrix
from leaderboards.site.page import HERE, render
from leaderboards.site.plots import PlotCurve, curve
from leaderboards.site.reading import Slim, identity, restored, slim
from leaderboards.site.runs import write_run
from leaderboards.site.script import write_script

MARK = "site.json"  # a folder that holds it was made here, and may be replaced
_ALONE = 200  # with fewer entries than this, starting other processes takes longer than it saves
_TONES = 8

Reader = Callable[[Path], RunLog | None]
"""From an entry's file to what its run can tell, or None; picklable, for it is called elsewhere."""


@dataclass(frozen=True, slots=True)
class SiteSummary:
    """What was written; `problems` has a sentence for each file that is not an entry."""

    folder: Path
    entries: int
    boards: int
    told: int
    problems: tuple[str, ...]


def no_log(path: Path) -> RunLog | None:
    """For entries without a run beside them."""
    return None


def build_site(
    folder: Path, paths: Iterable[Path | str], read_log: Reader = no_log, jobs: int = 1
) -> SiteSummary:
    """Read all entries in `paths` and write the site; the old one goes when the new one is whole.

    `jobs` is how many processes read entries and write run pages; 0: one a core, which a script may
    only ask for behind `if __name__ == "__main__"`.

    Raises:
        RecordError: if `folder` holds anything but a site.
    """
    with _in_place(folder) as part, uncollected():
        problems: list[str] = []
        found_files = (file for given in paths for file in entry_files(Path(given), problems))
        files = list(dict.fromkeys(found_files))
        found: dict[str, Slim] = {}
        for told in _all(partial(_one, folder=part, read_log=read_log), files, jobs):
            if isinstance(told, str):
                problems.append(told)
            elif told.id not in found or found[told.id].curve is None:
                found[told.id] = told
        curves = {id: one.curve for id, one in found.items() if one.curve is not None}
        made = boards([restored(one) for one in found.values()])
        _write_boards(part, made, curves, problems)
        told_all: JSON = {"entries": len(found), "boards": len(made), "problems": problems}
        (part / MARK).write_text(canonical(told_all) + "\n", encoding="ascii")
    return SiteSummary(folder, len(found), len(made), len(curves), tuple(problems))


@contextmanager
def _in_place(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of the old site if nothing goes wrong."""
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
        old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _all(
    work: Callable[[Path], Slim | str], files: Sequence[Path], jobs: int
) -> Iterator[Slim | str]:
    """The work done on every file, in the files' order, by as many processes as help."""
    jobs = jobs or min(os.cpu_count() or 1, 16)
    if jobs == 1 or len(files) < _ALONE:
        yield from map(work, files)
        return
    # Spawned, not forked: the caller may have threads, and a copy of their locks.
    # Each collects seldom: it keeps nothing of an entry but what it sends back.
    with ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=gc.set_threshold, initargs=(100_000, 20, 100)
    ) as pool:
        yield from pool.map(work, files, chunksize=25)


def _one(path: Path, folder: Path, read_log: Reader) -> Slim | str:
    """Read one entry, write its page, and give back what the boards need, or what is wrong."""
    try:
        entry = read_entry(path)
        log = read_log(path)
    except RecordError as error:
        return str(error)
    id, outcomes = identity(entry)
    write_run(folder, entry, id, outcomes, log)
    return slim(entry, id, curve(log.rounds) if log else None)


def _write_boards(
    folder: Path, made: Sequence[Board], curves: Mapping[str, PlotCurve], problems: Sequence[str]
) -> None:
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
    table = matrix(made)
    first = render(
        "index.html",
        boards=[(board, _entries(board)) for board in made],
        apart=apart(made),
        matrix=table,
        entries=sum(map(_entries, made)),
        methods=len(_methods(made)),
        worlds=len({board.track.env for board in made}),
        told=len(curves),
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
    """A method has one colour on all pages, as far as there are colours; `base` is grey."""
    names = sorted(_methods(made) - {"base"})
    return {name: number % _TONES for number, name in enumerate(names)}
