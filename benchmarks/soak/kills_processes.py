"""Runs side by side (`--executor processes`), killed with their parent or one child at a time.

After each kill: within two seconds no process of the command lives, each run's lock is free and its
files are whole. Resumed until it ends, each run is byte for byte the one that was never killed;
behind an endpoint it has the same lines in any order.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak._cases import WORLD, Case, cases, replying
from benchmarks.soak._frame import Found
from benchmarks.soak._server import served
from benchmarks.soak.kills import damage, differences
from harness.errors import RunError
from harness.storage.lock import Lock

COUNT = 50  # kills
_SEEDS = ("--seeds", "0,1", "--executor", "processes", "--jobs", "2")
_MOST = 3  # kills of one command
_ORPHANS = 2.0  # seconds in which a child has to notice


@dataclass
class Command:
    """A command under way in `home`, into the folder `name`."""

    home: Path
    name: str
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        self.output = self.home / f"{self.name}.out"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "harness", *self.words],
                cwd=self.home,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": self._path()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _path(self) -> str:
        repository = str(Path(__file__).resolve().parents[2])
        return os.pathsep.join((str(self.home), repository))

    def processes(self) -> list[int]:
        """Living processes whose command names the folder: the parent and its children."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (place / "cmdline").read_bytes().split(b"\0")
                state = (place / "stat").read_text().rpartition(")")[2].split()[0]
                here = any(w == self.name or w.startswith(f"{self.name}/") for w in _texts(words))
                if here and state not in "ZX" and _folder(place) == self.home:
                    found.append(int(place.name))
        return found

    def close(self) -> None:
        """Leave nothing behind, whatever failed."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def _texts(words: list[bytes]) -> list[str]:
    return [os.fsdecode(word) for word in words]


def _folder(place: Path) -> Path:
    return Path(os.readlink(place / "cwd"))


class Soak:
    """Kills so far, and the failures."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.rng = home, random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.missed = self.runs = 0
        self.failures: list[str] = []

    def whole(self, case: Case) -> tuple[Path, float]:
        """Run a case without a kill: its folder, and how long it took."""
        name, began = f"{case.name}-whole", time.monotonic()
        command = Command(self.home, name, (*case.command(name), *_SEEDS))
        try:
            if command.process.wait():
                raise SystemExit(f"{name} failed: {command.output.read_text()[-2000:]}")
        finally:
            command.close()
        return self.home / name, time.monotonic() - began

    def attempt(self, command: Command, seconds: float) -> int | None:
        """Kill a command once; its exit code if it ended before, else None."""
        aim = min(("parent", "child"), key=lambda a: (self.kills[a], self.rng.random()))
        with suppress(subprocess.TimeoutExpired):
            code = command.process.wait(timeout=self.rng.random() * seconds)
            self.missed += 1
            return code
        children = [pid for pid in command.processes() if pid != command.process.pid]
        killed = self.rng.choice(children) if aim == "child" and children else command.process.pid
        with suppress(ProcessLookupError):
            os.kill(killed, signal.SIGKILL)
        self.kills["parent" if killed == command.process.pid else "child"] += 1
        command.process.wait()  # where a child was killed, it stops the other and says so
        until = time.monotonic() + _ORPHANS
        while (left := command.processes()) and time.monotonic() < until:
            time.sleep(0.05)
        # The kernel takes a process's command away first, and closes its files after that.
        while self._held(command.name) and time.monotonic() < until:
            time.sleep(0.05)
        if left:
            self.failures.append(f"{command.name}: processes {left} live on after {aim}'s kill")
        for run in sorted((self.home / command.name).glob("*/config.toml")):
            self.failures += [f"{command.name}: {wrong}" for wrong in damage(run.parent)]
        return None

    def _held(self, name: str) -> bool:
        """True if a run's lock is held."""
        try:
            for lock in (self.home / name).glob("*/run.lock"):
                Lock(lock).release()
        except RunError:
            return True
        return False

    def break_and_compare(self, case: Case, whole: Path, seconds: float, most: int) -> None:
        """Kill a case up to `most` times, let it end, and compare its runs."""
        self.runs += 1
        name, code = f"{case.name}-{self.runs}", None
        for number in range(most + 1):
            begun = (self.home / name).exists()
            again = ("resume", name, "--json", "--quiet", *_SEEDS[2:])
            words = again if begun else (*case.command(name), *_SEEDS)
            command = Command(self.home, name, words)
            try:
                code = command.process.wait() if number == most else self.attempt(command, seconds)
            finally:
                command.close()
            if code is not None:
                break
        if code:
            told = (self.home / f"{name}.out").read_text()[-500:]
            self.failures.append(f"{name}: ended with status {code}: {told}")
            return
        for run in sorted(whole.glob("*/config.toml")):
            other = self.home / name / run.parent.name
            wrong = differences(run.parent, other, case.ordered)
            self.failures += [f"{name}/{run.parent.name}: {one}" for one in wrong]


def soak(seed: int, count: int, folder: Path) -> Found:
    """Kill `count` times."""
    (folder / "parity.py").write_text(WORLD)
    with served(replying) as (url, _):
        every = cases(folder / "none", url)
        names = ("scripted-evolution", "endpoint-evolution", "scripted-base", "endpoint-gepa")
        known = [case for name in names for case in every if case.name == name]
        state, wholes = Soak(folder.resolve(), seed), dict[str, tuple[Path, float]]()
        while sum(state.kills.values()) < count:
            case = known[state.runs % len(known)]
            if case.name not in wholes:
                wholes[case.name] = state.whole(case)
            left = count - sum(state.kills.values())
            state.break_and_compare(case, *wholes[case.name], min(left, _MOST))
            done, wrong = sum(state.kills.values()), len(state.failures)
            print(f"{done} kills, {wrong} failures, {case.name}", file=sys.stderr, flush=True)
    figures = {"kills": sum(state.kills.values()), "commands compared": state.runs}
    figures |= {"ended before they were killed": state.missed}
    figures |= {f"killed: {name}": n for name, n in sorted(state.kills.items())}
    return Found(figures, tuple(state.failures))
