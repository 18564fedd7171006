"""Runs killed by SIGKILL at chosen and random moments, compared with uninterrupted runs.

A killed run is resumed until it is killed again or ends. After each kill: no process of it lives,
its lock is free, whatever file it left is whole, and `harness show` reads it. In the end, prompts,
ratings, rewards, adapters and every count must be byte for byte those of the uninterrupted run;
behind endpoints, where the order of completions varies, the same lines in any order.
"""

import contextlib
import io
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.soak._cases import WORLD, Case, cases, replying
from benchmarks.soak._frame import Found
from benchmarks.soak._server import served
from benchmarks.tiny import tiny_model

COUNT = 200  # kills
AIMS = (
    "rollouts",
    "training",
    "reflection",
    "evaluation",
    "round",
    "checkpoint",
    "entry",
    "logs",
    "any",
    "cut",
)
_FILES = ("round", "checkpoint", "entry", "logs")
_ANY = ("any", "cut")
_LEFT = 3  # rounds of a run
_BYTES = ("champion.json", "champion.txt", "population.jsonl", "test.jsonl", "episodes.jsonl")
_WEIGHTS = ("adapter.safetensors", "optimizer.safetensors", "policy.json")
_SECONDS = ("seconds", "acting_seconds", "reflection_seconds", "training_seconds")
# What no two runs share, or what kills add; lines with seconds differ in length, so logs do.
_KILLS = ("run", "asked_again", "participants", "execution_changes")
_CLOCK = (*_SECONDS, "evaluation_seconds", "created", "command", "logs", *_KILLS)
_LATER = ("manifest", "seal")  # what checkpoints of earlier versions did not say


@dataclass
class Zygote:
    """The process that forks runs; see `_zygote`."""

    home: Path
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak._zygote"],
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._hear() == "ready"

    def start(self, words: list[str], folder: str, **more: Any) -> int:
        """Begin a run; its pid."""
        where = {"cwd": str(self.home), "folder": str(self.home / folder)}
        output = {"output": str(self.home / f"{folder}.out")}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"words": words, **where, **output, **more}) + "\n")
        self.process.stdin.flush()
        return int(self._hear())

    def status(self) -> int:
        """Wait for the run that was started last; −9 if it was killed."""
        return int(self._hear())

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _hear(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the process that forks runs has died")
        return line.strip()


@dataclass(frozen=True)
class Whole:
    """The unbroken run of a case: what it did, and how long."""

    folder: Path
    counts: dict[str, int]
    phases: dict[str, list[float]]
    seconds: float


def whole(case: Case, zygote: Zygote) -> Whole:
    """Run a case without a break."""
    name, trace = f"{case.name}-whole", zygote.home / f"{case.name}.trace"
    began = time.monotonic()
    zygote.start(case.command(name), name, trace=str(trace))
    if zygote.status():
        told = (zygote.home / f"{name}.out").read_text()[-2000:]
        raise SystemExit(f"the uninterrupted run of {case.name} failed: {told}")
    told = json.loads(trace.read_text())
    phases: dict[str, list[float]] = {}
    for phase, seconds in told["phases"]:
        phases.setdefault(phase, []).append(seconds)
    seconds = time.monotonic() - began
    return Whole(zygote.home / name, told["counts"], phases, seconds)


def aimed(aim: str, whole: Whole, rng: random.Random, resumed: bool) -> dict[str, Any] | None:
    """A moment of that kind; None for a random time.

    A resumed run has less of everything ahead of it than an unbroken one: a moment within the
    length of one round is all that it surely has.
    """
    if aim in _ANY:
        return None
    if aim in _FILES:
        count = whole.counts[aim]
        return {"files": aim, "nth": rng.randint(1, max(1, count // _LEFT) if resumed else count)}
    lasted = whole.phases[aim]
    nth = rng.randrange(max(1, len(lasted) // _LEFT) if resumed else len(lasted))
    return {"phase": aim, "nth": nth + 1, "delay": rng.random() * lasted[nth]}


def possible(whole: Whole) -> list[str]:
    """Moments in which a run of this case can be killed: `base` has no checkpoint."""
    return [aim for aim in AIMS if aim in (*_ANY, *whole.counts)]


def orphans(session: int) -> list[int]:
    """Processes that a dead run left behind; they are given two seconds to notice."""
    until = time.monotonic() + 2.0
    while True:
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    found.append(int(place.name))
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


def damage(folder: Path) -> list[str]:
    """Problems in the folder that a killed run left."""
    from harness.cli.main import main
    from harness.errors import HarnessError
    from harness.storage.atomic_files import read_json
    from harness.storage.checkpoint import read_checkpoint
    from harness.storage.lock import Lock
    from leaderboards.records.store import read_entry

    wrong = []
    try:
        Lock(folder / "run.lock").release()
    except HarnessError as error:
        wrong.append(f"its lock is held: {error}")
    for path in [p for p in folder.rglob("*.json") if not p.name.startswith(".")]:
        if "checkpoint.part" in path.parts or "checkpoint.old" in path.parts:
            continue  # neither is ever read
        try:
            read_entry(path) if path.name == "entry.json" else read_json(path)
        except Exception as error:
            wrong.append(f"{path.name} is not whole: {error}")
    if not (folder / "checkpoint.old").exists():  # else the next start puts one of the two back
        try:
            read_checkpoint(folder)
        except HarnessError as error:
            wrong.append(f"its checkpoint is refused: {error}")
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(["show", str(folder)])
        except Exception as error:
            code = -1
            said.write(repr(error))
    return wrong + ([f"harness show fails: {said.getvalue()[-300:]}"] if code else [])


def cut_power(folder: Path, rng: random.Random) -> None:
    """Lose data that was never forced to disk: cut the ends of logs, or fill them with zeros."""
    state = folder / "checkpoint" / "state.json"
    if not state.exists():  # between the two renames, the one before is what a resume reads
        state = folder / "checkpoint.old" / "state.json"
    logs: dict[str, int] = json.loads(state.read_text())["logs"] if state.exists() else {}
    for name in ("episodes", "rounds", "population"):
        path = folder / f"{name}.jsonl"
        if not path.exists():
            continue
        kept, size = logs.get(name, 0), path.stat().st_size
        if size > kept:
            at = rng.randint(kept, size)
            with path.open("r+b") as file:
                file.truncate(at)
                if rng.random() < 0.5:
                    file.truncate(size)  # zeros, as some file systems leave them
    unfinished = folder / "unfinished_round.jsonl"
    if unfinished.exists():  # wherever it is cut, what is missing is sampled again
        with unfinished.open("r+b") as file:
            file.truncate(rng.randint(0, unfinished.stat().st_size))


def timeless(value: Any) -> Any:
    """The same value without anything that a clock or a later version decided."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in (*_CLOCK, *_LATER)}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def _read(path: Path, ordered: bool) -> Any:
    if not path.exists():
        return None
    if path.suffix == ".safetensors" or (ordered and path.name in _BYTES):
        return path.read_bytes()
    if path.suffix == ".jsonl":
        rows = [json.dumps(timeless(json.loads(r))) for r in path.read_text().splitlines()]
        return rows if ordered else sorted(rows)
    return timeless(json.loads(path.read_text())) if path.suffix == ".json" else path.read_text()


def differences(one: Path, other: Path, ordered: bool) -> list[str]:
    """Files in which two finished runs differ, beyond what a clock decides."""
    names = [Path(n) for n in (*_BYTES, "rounds.jsonl", "entry.json", "identity.json")]
    names += [Path("checkpoint", "state.json")]
    names += [Path("checkpoint", "policy", name) for name in _WEIGHTS]
    wrong = []
    for name in names:
        first, second = _read(one / name, ordered), _read(other / name, ordered)
        if first != second:
            wrong.append(f"{name} differs")
    left = [p.name for p in other.rglob("*") if p.name.endswith((".part", ".tmp", ".old"))]
    left += [p.name for p in other.glob("unfinished*")]
    return wrong + [f"{name} was left behind" for name in left]


class Soak:
    """Kills so far, by moment and by case, and the failures."""

    def __init__(self, zygote: Zygote, seed: int) -> None:
        self.zygote, self.rng = zygote, random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.by_case: Counter[str] = Counter()
        self.missed = self.runs = 0
        self.failures: list[str] = []

    def attempt(self, case: Case, whole: Whole, words: list[str], name: str) -> int | None:
        """One life of a run; its exit status, or None if it was killed."""
        # What was hit least so far: in a fixed order, a kind that is missed once is missed again.
        aim = min(possible(whole), key=lambda a: self.kills[a])
        moment = aimed(aim, whole, self.rng, words[0] == "resume")
        if moment is None:
            pid = self.zygote.start(words, name)
            time.sleep(self.rng.random() * whole.seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        else:
            pid = self.zygote.start(words, name, aim=moment)
        status = self.zygote.status()
        if status != -9:
            self.missed += 1
            return status
        self.kills[aim] += 1
        self.by_case[case.name] += 1
        folder, here = self.zygote.home / name, f"{case.name}, killed at {aim} {moment or ''}"
        if left := orphans(pid):
            self.failures.append(f"{here}: processes {left} live on")
        if (folder / "config.toml").exists():
            self.failures += [f"{here}: {wrong}" for wrong in damage(folder)]
            if aim == "cut":
                cut_power(folder, self.rng)
        return None

    def break_and_compare(self, case: Case, whole: Whole, most: int) -> None:
        """Kill a run of this case up to `most` times, then let it end, and compare."""
        self.runs += 1
        name, status = f"{case.name}-{self.runs}", None
        folder = self.zygote.home / name
        for _ in range(most):
            begun = (folder / "config.toml").exists()
            words = ["resume", name, "--json", "--quiet"] if begun else case.command(name)
            status = self.attempt(case, whole, words, name)
            if status is not None:
                break
        if status is None:
            begun = (folder / "config.toml").exists()
            words = ["resume", name, "--json", "--quiet"] if begun else case.command(name)
            self.zygote.start(words, name)
            status = self.zygote.status()
        if status:
            told = (self.zygote.home / f"{name}.out").read_text()[-500:]
            self.failures.append(f"{name}: ended with status {status}: {told}")
            return
        self.failures += [f"{name}: {d}" for d in differences(whole.folder, folder, case.ordered)]


def soak(seed: int, count: int, folder: Path) -> Found:
    """Kill `count` times."""
    (folder / "parity.py").write_text(WORLD)
    tiny_model(folder / "tiny")
    zygote = Zygote(folder)
    with served(replying) as (url, _):
        known = cases(folder / "tiny", url)
        state, wholes = Soak(zygote, seed), dict[str, Whole]()
        try:
            while sum(state.kills.values()) < count:
                case = known[state.runs % len(known)]
                if case.name not in wholes:
                    wholes[case.name] = whole(case, zygote)
                left, told = count - sum(state.kills.values()), len(state.failures)
                state.break_and_compare(case, wholes[case.name], min(left, 5))
                done, wrong = sum(state.kills.values()), len(state.failures)
                said = (f"{done} kills, {wrong} failures, {case.name}", *state.failures[told:])
                print("\n  ".join(said), file=sys.stderr, flush=True)
        finally:
            zygote.close()
    figures = {"kills": sum(state.kills.values()), "runs compared": state.runs}
    figures |= {"ended before they were killed": state.missed}
    figures |= {f"killed at {aim}": n for aim, n in sorted(state.kills.items())}
    figures |= {f"kills of {name}": n for name, n in sorted(state.by_case.items())}
    return Found(figures, tuple(state.failures))
