"""Run directories of the current schema, kept for ever as tests that later versions read them.

    python -m benchmarks.golden        # writes tests/golden/v1/… for schema 1; never overwrites

Make them once, when a schema is released: `scripted` is a run without weights, broken off in its
second round, and the same run finished; `pocket` is one with an adapter, broken off. Run it from a
clean checkout.
"""

import contextlib
import shutil
from pathlib import Path

from harness.callbacks import Callback, Callbacks
from harness.policies.base import Purpose
from harness.runs.build import run_one
from harness.runs.request import write_request
from harness.runs.resolve import Requested, resolve
from harness.storage.run_dir import SCHEMA
from harness.types import Episode

HOME = Path(__file__).resolve().parents[1] / "tests" / "golden"
_SETS = ("budget.tasks=2", "budget.prompts=2", "budget.samples=2", "model.threads=1")
_WORDS = "reflection.model=scripted:constant=ADD: look twice"
RUNS = {
    "scripted": Requested(
        env="arithmetic",
        methods=("evolution",),
        model="scripted:constant=Answer: 9",
        preset="laptop",
        sets=(*_SETS, _WORDS),
        episodes=24,
        test_tasks=4,
        samples=1,
    ),
    "pocket": Requested(
        env="calibration/both",
        methods=("espl",),
        model="pocket",
        preset="pocket",
        sets=(*_SETS, _WORDS, "model.lora_rank=1", "model.device=cpu"),
        episodes=24,
        test_tasks=4,
        samples=1,
    ),
}


class BrokenOff(BaseException):
    """Training was broken off, as a kill would."""


class Breaker(Callback):
    """Breaks off in the second round, after one of its episodes at least."""

    left = 12

    def episode(self, episode: Episode, purpose: Purpose) -> None:
        self.left -= 1
        if not self.left:
            raise BrokenOff


def make(name: str, folder: Path, broken: bool) -> None:
    """One run, finished or broken off."""
    request = resolve(RUNS[name]).configs[0]
    write_request(request, folder)
    with contextlib.suppress(BrokenOff):
        run_one(request, folder, Callbacks([Breaker()] if broken else []), lambda: False)
    (folder / "run.lock").unlink()


def main() -> int:
    home = HOME / f"v{SCHEMA}"
    if home.exists():
        print(f"{home} exists; what is released is never made anew")
        return 1
    part = HOME / f".v{SCHEMA}.part"
    shutil.rmtree(part, ignore_errors=True)
    make("scripted", part / "scripted-finished", broken=False)
    make("scripted", part / "scripted-broken", broken=True)
    make("pocket", part / "pocket-broken", broken=True)
    part.rename(home)
    print(home)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
