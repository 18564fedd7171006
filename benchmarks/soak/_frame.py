"""Common parts of all stress tests.

A stress test is a module of this folder whose name has no leading underscore. It has COUNT, the
size of its long version, and `soak(seed, count, folder) -> Found`, which works in an empty folder
and raises NotRun where it cannot. `NEEDS` names a test fixture that provides its requirements.
"""

import importlib
import json
import os
import pkgutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
SHORT = 50  # a fiftieth runs in `make test`


class NotRun(Exception):
    """A soak lacks what it needs on this machine; the message says what."""


@dataclass(frozen=True)
class Found:
    """Result of a stress test: figures to publish, and one sentence for each failure."""

    figures: Mapping[str, int | float | str]
    failures: tuple[str, ...]


def known() -> dict[str, ModuleType]:
    """Every soak by its name."""
    names = [m.name for m in pkgutil.iter_modules([str(HERE)]) if not m.name.startswith("_")]
    return {name: importlib.import_module(f"benchmarks.soak.{name}") for name in sorted(names)}


def short(soak: ModuleType) -> int:
    """Size of the version of a stress test in `make test`."""
    return max(1, soak.COUNT // SHORT)


def perform(name: str, seed: int, count: int | None, keep: Path | None = None) -> bool:
    """Run one soak, print and record what it found; True where something failed.

    `keep` is a folder to work in and to leave as it is in the end; without it nothing is left.

    Raises:
        NotRun: It lacks something here; nothing is recorded.
    """
    soak = known()[name]
    wanted = soak.COUNT if count is None else count
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"soak-{name}-") as folder:
        found: Found = soak.soak(seed, wanted, Path(folder) if keep is None else _empty(keep, name))
    line = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "command": f"python -m benchmarks.soak {name} --seed {seed} --count {wanted}",
        "machine": f"{os.cpu_count()} CPU cores, shared",
        "seed": seed,
        "count": wanted,
        "seconds": round(time.monotonic() - began),
        "figures": dict(found.figures),
        "failures": list(found.failures),
    }
    print(json.dumps(line, ensure_ascii=False), flush=True)
    (HERE / "results").mkdir(exist_ok=True)
    with (HERE / "results" / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return bool(found.failures)


def _empty(keep: Path, name: str) -> Path:
    folder = keep.resolve() / name
    folder.mkdir(parents=True)
    return folder


def _commit() -> str:
    """The checked-out commit, with a + where files differ from it."""
    home = HERE.parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=home, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    dirty = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/soak/results")
    return git("rev-parse", "--short=12", "HEAD") + ("+" if dirty else "")
