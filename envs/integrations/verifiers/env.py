"""Environments of the verifiers package, played in an interpreter of their own: `verifiers:ENV_ID`.

The package (or what it needs) owns the top-level name `agents`, so it cannot be installed beside
this project. `world.python` names the interpreter that has it. The two talk through pipes: no port
is open to anyone, and the other process dies with this one, or when its time is up. Inside it the
environment talks to a model on loopback, behind a token; see `verifiers_worker`.

An environment's own evaluation set is the test split, and an eighth of the rest is validation.
Where it has none, its tasks are dealt out by the hash of their content: half to train, an eighth to
validation, three eighths to test. Tasks that come twice are kept once. Rewards are its rubric's. A
reward function that raises counts as 0 in the package; here the episode is unscored.
"""

import atexit
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from envs.adapters.text_spaces import check_number
from envs.errors import UnknownEnv, UnknownOption
from envs.fingerprint import digest
from envs.integrations.hosted_env import Heard, Hosted, OutsideFailed, finite, sentence
from envs.integrations.split_shares import deal
from envs.integrations.verifiers.messages import answered, opening
from envs.text_env import SPLITS, Split
from envs.workers.json_worker import WorkerFailed
from envs.workers.pool import WorkerPool

PYTHON = "HARNESS_VERIFIERS_PYTHON"
"""Names the interpreter where the option does not."""
LOAD_SECONDS = 600.0  # importing, and whatever an environment downloads
_WORKER = Path(__file__).with_name("worker.py")
Place = tuple[str, int]
"""Part ("train" or "eval") and number of a row of the environment's data."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which environment is played, and where."""

    python: str
    name: str
    folder: str
    arguments: str
    turns: int
    megabytes: int

    def job(self, ask: str, **more: object) -> dict[str, Any]:
        """A job for the process that plays it."""
        said = {"name": self.name, "folder": self.folder, "turns": self.turns}
        return {"ask": ask, **said, "arguments": json.loads(self.arguments), **more}


class Desks:
    """Processes that play one episode at a time: taken, given back, and kept for the next."""

    def __init__(self) -> None:
        self._idle: dict[Wanted, list[WorkerPool]] = {}
        self._lock = threading.Lock()

    def take(self, wanted: Wanted) -> WorkerPool:
        """One that nobody else uses."""
        with self._lock:
            idle = self._idle.setdefault(wanted, [])
            if idle:
                return idle.pop()
        return WorkerPool(_WORKER, megabytes=wanted.megabytes, python=wanted.python)

    def give(self, wanted: Wanted, workers: WorkerPool) -> None:
        """Back, for whoever comes next."""
        with self._lock:
            self._idle.setdefault(wanted, []).append(workers)

    def close(self) -> None:
        """End all that wait."""
        with self._lock:
            waiting = [workers for idle in self._idle.values() for workers in idle]
            self._idle.clear()
        for workers in waiting:
            workers.close()


desks = Desks()
atexit.register(desks.close)


def asked(workers: WorkerPool, job: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The other process's answer; raises OutsideFailed."""
    try:
        said = workers.ask(job, seconds)
    except WorkerFailed as failure:
        raise OutsideFailed(f"the process that runs verifiers failed: {failure}") from failure
    if "failed" in said:
        raise OutsideFailed(f"verifiers could not go on: {sentence(said['failed'])}")
    return said


@cache
def described(wanted: Wanted) -> Mapping[str, Any]:
    """What the environment says of itself; it is loaded for that."""
    workers = desks.take(wanted)
    try:
        said = asked(workers, wanted.job("describe"), LOAD_SECONDS)
    except OutsideFailed as reason:
        workers.close()
        raise UnknownEnv(
            f"verifiers:{wanted.name} cannot be loaded by {wanted.python}: {reason}. Is the"
            f" environment installed there? Type: {wanted.python} -c 'import verifiers'"
        ) from reason
    desks.give(wanted, workers)
    parts = said.get("parts")
    if not isinstance(parts, dict) or not isinstance(said.get("system"), str):
        raise UnknownEnv(f"verifiers:{wanted.name} describes itself in no known way.")
    return said


def dealt(train: list[str], evaluation: list[str]) -> dict[Split, tuple[Place, ...]]:
    """Which row belongs to which split, by the hashes of their content."""
    tested = {key: ("eval", n) for n, key in reversed(list(enumerate(evaluation)))}
    rest = {key: ("train", n) for n, key in reversed(list(enumerate(train))) if key not in tested}
    shares: dict[Split, list[Place]] = {split: [] for split in SPLITS}
    shares["test"] += tested.values()
    turns = deal(rest)
    for place, key in enumerate(sorted(rest)):
        held_back: Split = "validation" if place % 8 == 1 else "train"
        shares[held_back if tested else turns[key]].append(rest[key])
    return {split: tuple(sorted(found)) for split, found in shares.items()}


class Verifiers(Hosted):
    """An environment of the verifiers package, in an interpreter of its own (world.python).

    Options: `python`, the interpreter; `max_turns`, replies an episode has at most; `seconds`, for
    one answer of the environment; `at_once`, processes that play side by side; `memory_mb`, of
    each; `success_at`; `reply_tokens`. Any other option is an argument of its `load_environment`.
    """

    name = "verifiers"
    grader_version = "rubric-1"
    path_options = ("python",)

    def __init__(
        self,
        *,
        environment: str,
        split: Split = "train",
        python: str = "",
        max_turns: int = 20,
        seconds: float = 120.0,
        at_once: int = 2,
        memory_mb: int = 16384,
        success_at: float = 1.0,
        reply_tokens: int = 512,
        **arguments: Any,
    ) -> None:
        super().__init__(
            split=split, success_at=success_at, at_once=at_once, reply_tokens=reply_tokens
        )
        check_number("max_turns", max_turns, 1, 10_000)
        check_number("memory_mb", memory_mb, 64, 1_048_576)
        if not 0 < seconds <= 86_400:
            raise UnknownOption(f"world.seconds is {seconds:g}, but should be from 1 to 86400.")
        folder, module = located(environment)
        self.name = f"verifiers:{module}"
        given = json.dumps(arguments, sort_keys=True)
        self._wanted = Wanted(
            interpreter(python, module), module, folder, given, max_turns, memory_mb
        )
        self._seconds = seconds
        self._about = described(self._wanted)
        parts = self._about["parts"]
        self._places = dealt(list(parts.get("train", ())), list(parts.get("eval", ())))
        self.system_prompt = str(self._about["system"])
        self._workers: WorkerPool | None = None

    def size(self, split: Split) -> int:
        """As its data are dealt out."""
        return len(self._places[split])

    def task_id(self, number: int) -> str:
        """Part and number of the row."""
        part, row = self._places[self.split][number]
        return f"{self.name}:{part}-{row}"

    def begin(self, number: int) -> str:
        """Let the environment begin its rollout."""
        part, row = self._places[self.split][number]
        self._let_go()
        self._workers = desks.take(self._wanted)
        said = self._ask("begin", part=part, number=row)
        if "asked" not in said:
            self._let_go()
            raise OutsideFailed(f"{self.name} ended before anybody replied: {_why(said)}")
        return opening(said.get("asked"), said.get("tools"), self.system_prompt)

    def hear(self, reply: str) -> Heard:
        """The next thing the environment says, or what its rubric says at the end."""
        if self._workers is None:
            raise OutsideFailed("no episode is being played")
        said = self._ask("reply", text=reply)
        if "asked" in said:
            return Heard(answered(said.get("asked")))
        self._let_go()
        over = said.get("over")
        if not isinstance(over, dict) or over.get("failed"):
            raise OutsideFailed(f"{self.name} gave no score: {_why(said)}")
        numbers = over.get("metrics")
        metrics = numbers if isinstance(numbers, dict) else {}
        told = {str(k)[:60]: finite(v) for k, v in list(metrics.items())[:20]}
        return Heard(reward=finite(over.get("reward")), over=True, metrics=told)

    def _ask(self, ask: str, **more: object) -> dict[str, Any]:
        assert self._workers is not None
        # A process that was just started has to load the environment first.
        seconds = self._seconds + (LOAD_SECONDS if ask == "begin" else 0.0)
        try:
            return asked(self._workers, self._wanted.job(ask, **more), seconds)
        except BaseException:
            self._workers.close()  # what was said too late is nobody's answer
            self._workers = None
            raise

    def _let_go(self) -> None:
        if self._workers is not None:
            desks.give(self._wanted, self._workers)
            self._workers = None

    def rules(self) -> str:
        """Every option that decides what is asked and what it is worth."""
        return json.dumps([self._wanted.arguments, self._wanted.turns, self._success_at])

    def fingerprint(self) -> str:
        """The hash of the package's version, the environment's sources, its rows and the rules."""
        about = [self._about.get(key) for key in ("version", "kind", "sources", "parts", "system")]
        return digest([self.name, self.grader_version, self.rules(), about])

    def close(self) -> None:
        """Give the process back; it ends when this one does."""
        self._let_go()


def _why(said: Mapping[str, Any]) -> str:
    over = said.get("over")
    return sentence(over.get("failed") or "no reason given") if isinstance(over, dict) else "?"


def located(environment: str) -> tuple[str, str]:
    """The folder to import from, "" for an installed one, and the environment's name."""
    if not is_path(environment):
        return "", environment
    path = Path(environment).expanduser().absolute()
    if not path.exists():
        raise UnknownEnv(f"There is nothing at {path}; name a module, a folder or a Python file.")
    name = path.stem.replace("-", "_")
    inside = path.is_dir() and (path / f"{name}.py").is_file()
    return str(path if inside else path.parent), name


def is_path(environment: str) -> bool:
    """Whether an environment is named by a file or folder, not by its id."""
    return environment.startswith((".", "/", "~")) or environment.endswith(".py")


def interpreter(python: str, environment: str) -> str:
    """The interpreter that has verifiers; raises UnknownOption saying how to get one."""
    named = python or os.environ.get(PYTHON, "")
    path = Path(named).expanduser() if named else None
    if path is not None and path.is_dir():
        path = path / "bin" / "python"
    if path is not None and path.is_file():
        return str(path.absolute())
    missing = f"There is no interpreter {path}." if path else "No interpreter is named."
    raise UnknownOption(
        f"{missing} verifiers needs one of its own: python -m venv vf && vf/bin/pip install"
        f" 'verifiers<0.4', install the environment there too, then --env verifiers:{environment}"
        f" --set world.python=vf/bin/python (or set {PYTHON})."
    )
