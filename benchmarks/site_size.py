"""Time and size of a site with many entries: `python -m benchmarks.site_size --entries 10000`.

The published entries are written again under other seeds and settings, ten seeds a row, until there
are enough. Printed: seconds of CPU and of wall clock for reading alone and for the site, and the
site's size. CPU seconds include those of the processes that read entries.
"""

import argparse
import os
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.runs.run_log import read_log
from leaderboards.records.store import find_entries
from leaderboards.site import build_site

PUBLISHED = Path(__file__).resolve().parents[1] / "leaderboards" / "results"
SEEDS = 10  # of a row


def make(folder: Path, count: int) -> None:
    """Write `count` entries; there is no time to wait until each is on the disk."""
    models = find_entries([PUBLISHED]).entries
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        row, seed = divmod(number, SEEDS)
        model = models[row % len(models)]
        config = {**model.config, "row": row}
        entry = replace(model, seed=seed, config=config)
        (folder / f"{number:06}.entry.json").write_text(entry.to_json(), encoding="ascii")


def cpu() -> float:
    """Seconds of CPU of this process and of its children that have ended."""
    mine, theirs = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print the time of a part."""
    wall, before = time.perf_counter(), cpu()
    yield
    print(
        f"{what}: {cpu() - before:.1f} s CPU, {time.perf_counter() - wall:.1f} s wall", flush=True
    )


def main() -> None:
    """Make entries, read them, build the site."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--jobs", type=int, default=0, help="0: one process per core")
    parser.add_argument("--folder", type=Path, help="keep entries and site here")
    asked = parser.parse_args()
    with TemporaryDirectory(prefix="site-size-") as scratch:
        folder = asked.folder or Path(scratch)
        entries, site = folder / "in", folder / "site"
        if not entries.exists():
            with timed(f"writing {asked.entries:,} entries"):
                make(entries, asked.entries)
        with timed("reading"):
            found = find_entries([entries])
        assert not found.problems, found.problems[0]
        count = len(found.stored)
        del found
        with timed(f"site of {count:,} entries"):
            built = build_site(site, [entries], read_log, jobs=asked.jobs)
        size = sum(os.path.getsize(p) for p in site.rglob("*") if p.is_file())
        print(
            f"{built.boards} leaderboards, {size / 1e6:,.0f} MB; {os.cpu_count()} cores", flush=True
        )
        if asked.folder is None:
            shutil.rmtree(site)


if __name__ == "__main__":
    main()
