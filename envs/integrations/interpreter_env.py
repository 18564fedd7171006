"""The base of environments that are played in an interpreter of their own.

The other process runs a script of this package beside the framework. The two talk through pipes:
no port is open to anyone, and the other process dies with this one, or when its time is up. The
framework asks a model for completions, and the policy's replies are its completions; see
`verifiers/model_endpoint.py`.

Where a framework names an evaluation set, it is the test split, and an eighth of the rest is
validation. Where it does not, tasks are split by the hash of their content: half to train, an
eighth to validation, three eighths to test. Tasks that come twice are kept once.
"""

import atexit
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from envs.errors import UnknownEnv, UnknownOption, option_key
from envs.fingerprint import digest
from envs.integrations.chat_messages import (
    checked_tools,
    new_results,
    new_text,
    opening_text,
)
from envs.integrations.hosted_env import (
    HostedEnv,
    HostedEnvFailed,
    HostedStep,
    finite_reward,
    one_line,
)
from envs.integrations.split_shares import assign_splits
from envs.option_checks import check_number
from envs.text_env import SPLITS, Split
from envs.tools.calls import canonical_reply
from envs.workers.json_worker import WorkerFailed
from envs.workers.pool import WorkerPool

LOAD_SECONDS = 600.0  # importing, and whatever an environment downloads
MODULES = {"verifiers": "verifiers", "inspect": "inspect_ai"}
"""The package of each framework."""
RowRef = tuple[str, int]
"""Part ("train" or "eval") and number of a row of the environment's data."""


@dataclass(frozen=True, slots=True)
class WorkerKey:
    """The environment, its options, and the interpreter: equal keys can share a worker."""

    framework: str
    script: Path
    python: str
    name: str
    folder: str
    arguments: str
    max_turns: int
    megabytes: int

    def job(self, ask: str, **more: object) -> dict[str, Any]:
        """A job for the process that plays it."""
        answer = {"name": self.name, "folder": self.folder, "turns": self.max_turns}
        return {"ask": ask, **answer, "arguments": json.loads(self.arguments), **more}


class WorkerCache:
    """Worker processes, each with one episode at a time, that are reused."""

    def __init__(self) -> None:
        self._idle: dict[WorkerKey, list[WorkerPool]] = {}
        self._lock = threading.Lock()

    def acquire(self, key: WorkerKey) -> WorkerPool:
        """A worker that no other episode uses."""
        with self._lock:
            idle = self._idle.setdefault(key, [])
            if idle:
                return idle.pop()
        return WorkerPool(key.script, megabytes=key.megabytes, python=key.python)

    def release(self, key: WorkerKey, worker: WorkerPool) -> None:
        """Return a worker for the next episode."""
        with self._lock:
            self._idle.setdefault(key, []).append(worker)

    def close(self) -> None:
        """End all idle workers."""
        with self._lock:
            waiting = [worker for idle in self._idle.values() for worker in idle]
            self._idle.clear()
        for worker in waiting:
            worker.close()


worker_cache = WorkerCache()
atexit.register(worker_cache.close)


def ask_worker(
    worker: WorkerPool, framework: str, job: Mapping[str, Any], seconds: float
) -> dict[str, Any]:
    """The other process's answer; raises HostedEnvFailed."""
    try:
        answer = worker.ask(job, seconds)
    except WorkerFailed as failure:
        raise HostedEnvFailed(f"the process that runs {framework} failed: {failure}") from failure
    if "failed" in answer:
        raise HostedEnvFailed(f"{framework} could not go on: {one_line(answer['failed'])}")
    return answer


@cache
def load_description(key: WorkerKey) -> Mapping[str, Any]:
    """The environment's description of itself; it is loaded for that."""
    worker = worker_cache.acquire(key)
    try:
        answer = ask_worker(worker, key.framework, key.job("describe"), LOAD_SECONDS)
    except HostedEnvFailed as reason:
        worker.close()
        raise UnknownEnv(
            f"{key.framework}:{key.name} cannot be loaded by {key.python}: {reason}. Is the"
            f" environment installed there? Type: {key.python} -c 'import {MODULES[key.framework]}'"
        ) from reason
    worker_cache.release(key, worker)
    parts = answer.get("parts")
    if not isinstance(parts, dict) or not isinstance(answer.get("system"), str):
        raise UnknownEnv(f"{key.framework}:{key.name} describes itself in no known way.")
    return answer


def split_rows(train: list[str], evaluation: list[str]) -> dict[Split, tuple[RowRef, ...]]:
    """The rows of each split, by the hashes of their content."""
    # Backwards, so that of equal rows the first one is kept.
    evaluation_rows = {key: ("eval", n) for n, key in reversed(list(enumerate(evaluation)))}
    remaining = {
        key: ("train", n)
        for n, key in reversed(list(enumerate(train)))
        # A row that both parts have is test's alone.
        if key not in evaluation_rows
    }
    shares: dict[Split, list[RowRef]] = {split: [] for split in SPLITS}
    shares["test"] += evaluation_rows.values()
    assigned = assign_splits(remaining)
    for place, key in enumerate(sorted(remaining)):
        split_of_row: Split = "validation" if place % 8 == 1 else "train"
        shares[split_of_row if evaluation_rows else assigned[key]].append(remaining[key])
    return {split: tuple(sorted(found)) for split, found in shares.items()}


class InterpreterEnv(HostedEnv):
    """An environment of a framework, in an interpreter of its own (option `python`).

    Args:
        environment: Name of an installed environment, or the path of its folder or file.
        python: Python interpreter that has the framework, or the folder of its virtual environment;
            empty: the one that an environment variable names.
        max_turns (1 to 10000; in completions): Completions of an episode at most.
        seconds (1 to 86400; in seconds): Time that one response of the environment may take.
        at_once (1 to 256; in processes): Processes that run episodes side by side.
        memory_mb (64 to 1048576; in MB): Memory limit of each process.
        tools (one of text, native): Way in which tools are offered: "text" with the first question,
            "native" as definitions for the model's chat template or endpoint.
    """

    framework = ""
    script = Path()
    variable = ""
    install = ""
    venv = ""
    # Set before the base is initialised: as a parameter of it they would be an option.
    arguments: Mapping[str, Any] = {}
    reads_thoughts = True  # its parsers may ask for the closing mark of a thought
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
        tools: str = "text",
    ) -> None:
        super().__init__(
            split=split, success_at=success_at, at_once=at_once, reply_tokens=reply_tokens
        )
        check_number("max_turns", max_turns, 1, 10_000)
        check_number("memory_mb", memory_mb, 64, 1_048_576)
        if not 0 < seconds <= 86_400:
            raise UnknownOption(
                f"{option_key('seconds')} is {seconds:g}, but should be from 1 to 86400."
            )
        if tools not in ("text", "native"):
            raise UnknownOption(f"{option_key('tools')} is {tools!r}, but is text or native.")
        self._native, self._tools = tools == "native", list[Mapping[str, Any]]()
        folder, module = self.locate(environment)
        self.name = f"{self.framework}:{module}"
        self._worker_key = WorkerKey(
            self.framework,
            self.script,
            self._interpreter(python, module),
            module,
            folder,
            json.dumps(dict(self.arguments), sort_keys=True),
            max_turns,
            memory_mb,
        )
        self._seconds = seconds
        self._about = load_description(self._worker_key)
        parts = self._about["parts"]
        self._rows = split_rows(list(parts.get("train", ())), list(parts.get("eval", ())))
        self.system_prompt = str(self._about["system"])
        self._worker: WorkerPool | None = None

    def size(self, split: Split) -> int:
        """The number of rows of the split."""
        return len(self._rows[split])

    def task_id(self, number: int) -> str:
        """Part and number of the row."""
        part, row = self._rows[self.split][number]
        return f"{self.name}:{part}-{row}"

    def start_episode(self, number: int) -> str:
        """Let the environment begin its rollout."""
        part, row = self._rows[self.split][number]
        self._release_worker()
        self._worker = worker_cache.acquire(self._worker_key)
        answer = self._ask("begin", part=part, number=row)
        if "asked" not in answer:
            self._release_worker()
            raise HostedEnvFailed(
                f"{self.name} ended before anybody replied: {_failure_reason(answer)}"
            )
        self._tools = checked_tools(answer.get("tools"))
        told = () if self._native else self._tools
        return opening_text(answer.get("asked"), told, self.system_prompt)

    @property
    def tool_definitions(self) -> Sequence[Mapping[str, Any]]:
        """The tools of the current episode, where they are offered natively."""
        return self._tools if self._native else ()

    def send(self, reply: str) -> HostedStep:
        """The next thing the environment says, or what its rubric says at the end."""
        if self._worker is None:
            raise HostedEnvFailed("no episode is being played")
        if self._native and self._tools:
            reply = canonical_reply(reply, frozenset(str(tool["name"]) for tool in self._tools))
        answer = self._ask("reply", text=reply)
        if "asked" in answer:
            results = new_results(answer.get("asked")) if self._native else ()
            return HostedStep(new_text(answer.get("asked")), results=results)
        self._release_worker()
        over = answer.get("over")
        if not isinstance(over, dict) or over.get("failed"):
            raise HostedEnvFailed(f"{self.name} gave no score: {_failure_reason(answer)}")
        numbers = over.get("metrics")
        metrics = numbers if isinstance(numbers, dict) else {}
        told = {str(k)[:60]: finite_reward(v) for k, v in list(metrics.items())[:20]}
        return HostedStep(reward=finite_reward(over.get("reward")), over=True, metrics=told)

    def _ask(self, ask: str, **more: object) -> dict[str, Any]:
        assert self._worker is not None
        # A process that was just started has to load the environment first.
        seconds = self._seconds + (LOAD_SECONDS if ask == "begin" else 0.0)
        try:
            return ask_worker(
                self._worker, self.framework, self._worker_key.job(ask, **more), seconds
            )
        except BaseException:
            self._worker.close()  # what was said too late is nobody's answer
            self._worker = None
            raise

    def _release_worker(self) -> None:
        if self._worker is not None:
            worker_cache.release(self._worker_key, self._worker)
            self._worker = None

    def rules(self) -> str:
        """Every option that decides tasks or rewards."""
        facts = [self._worker_key.arguments, self._worker_key.max_turns, self._success_at]
        return json.dumps([*facts, "native"] if self._native else facts)

    def fingerprint(self) -> str:
        """The hash of the package's version, the environment's sources, its rows and the rules."""
        about = [self._about.get(key) for key in ("version", "kind", "sources", "parts", "system")]
        return digest([self.name, self.grader_version, self.rules(), about])

    def close(self) -> None:
        """Give the process back; it ends when this one does."""
        self._release_worker()

    def locate(self, environment: str) -> tuple[str, str]:
        """The folder to import from, "" for an installed one, and the environment's name."""
        return locate(environment)

    def default_interpreter(self) -> str:
        """The interpreter where nobody names one; "" for none."""
        return ""

    def _interpreter(self, python: str, environment: str) -> str:
        """The interpreter that has the framework; raises UnknownOption saying how to get one."""
        named = python or os.environ.get(self.variable, "") or self.default_interpreter()
        path = Path(named).expanduser() if named else None
        if path is not None and path.is_dir():
            path = path / "bin" / "python"
        if path is not None and path.is_file():
            return str(path.absolute())
        missing = f"There is no interpreter {path}." if path else "No interpreter is named."
        folder = self.venv
        raise UnknownOption(
            f"{missing} {self.framework} needs one of its own: python -m venv {folder} &&"
            f" {folder}/bin/pip install {self.install}, install the environment there too, then"
            f" --env {self.framework}:{environment} --set"
            f" {option_key('python')}={folder}/bin/python (or set {self.variable})."
        )


def _failure_reason(answer: Mapping[str, Any]) -> str:
    over = answer.get("over")
    return one_line(over.get("failed") or "no reason given") if isinstance(over, dict) else "?"


def locate(environment: str) -> tuple[str, str]:
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
    """True where an environment is named by a file or folder, not by its id."""
    return environment.startswith((".", "/", "~")) or environment.endswith(".py")
