"""Task folders in the format of Harbor, the successor of Terminal-Bench: `harbor:PATH`.

PATH is one task folder or a folder of them: task.toml, instruction.md, environment/, tests/. The
option `python` names an interpreter that has the harbor package (Python 3.12 or newer); its own
classes read the task, run the container and the tests. The agent replies as in `terminal`: a block
of commands, or Done. It sees the instruction and what commands print, never tests/ or solution/,
which are copied in, if at all, after its last process was killed.

A task whose tests leave no reward is unscored, with the reason.
"""

import hashlib
import os
import subprocess
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from envs.containers.limits import ContainerLimits
from envs.containers.owner import labels
from envs.containers.streams import Output
from envs.errors import EnvError, UnknownOption, option_key
from envs.fingerprint import canonical_text, digest
from envs.integrations.hosted_env import HostedEnv, HostedEnvFailed, HostedStep, one_line
from envs.option_checks import check_number, check_real
from envs.terminal.env import NO_ACTION, observation_text, parse_action
from envs.text_env import SPLITS, Split
from envs.workers.json_worker import WorkerFailed, WorkerLabels
from envs.workers.pool import WorkerPool

VARIABLE = "HARNESS_HARBOR_PYTHON"
"""Names the interpreter where the option `python` does not."""
_WORKER = Path(__file__).with_name("worker.py")
_LABELS = WorkerLabels("Harbor's worker", "Harbor's worker", "Harbor", "answer")
_READ_SECONDS = 120.0
_START_SECONDS = 1800.0  # an image may have to be built
_OUTPUT_BYTES = 4000
_SHOWN_REFUSALS = 3
SYSTEM_PROMPT = """\
You solve a task in a Linux shell. To run commands, write them in a block like this and nothing
after it:
```sh
ls -l
```
You are then shown what they print. When the task is solved, write Done on a line of its own."""


class Harbor(HostedEnv):
    """Tasks in Harbor's format, run by the harbor package (option `python`).

    Args:
        path: A task folder, or a folder of task folders.
        python: Python interpreter that has harbor, or the folder of its virtual environment.
        environment: "plain" runs containers by docker alone; else one of Harbor's own environments
            (docker, which needs Docker Compose; daytona, modal, …) or module:Class.
        max_turns (1 to 10000; in completions): Completions per episode; then the tests are run.
        seconds (1 to 86400; in seconds): Time limit of one block of commands.
        test (0 to 1): Share of the tasks for the test split, where task.toml names none
            (metadata.split).
        validation (0 to 1): Share of the tasks for the validation split.
        split_seed (at least 0): Seed of the order in which tasks are shared out.
        at_once (1 to 256; in episodes): Episodes in parallel, one container and process each.
        success_at: Least reward that counts as a success.
        reply_tokens (1 to 1000000; in tokens): Maximum new tokens of one completion, unless the run
            sets its own.
    """

    name = "harbor"
    system_prompt = SYSTEM_PROMPT

    def __init__(
        self,
        *,
        path: str,
        split: Split = "train",
        python: str = "",
        environment: str = "plain",
        max_turns: int = 30,
        seconds: float = 120.0,
        test: float = 0.2,
        validation: float = 0.1,
        split_seed: int = 0,
        at_once: int = 2,
        success_at: float = 1.0,
        reply_tokens: int = 512,
    ) -> None:
        super().__init__(
            split=split, success_at=success_at, at_once=at_once, reply_tokens=reply_tokens
        )
        check_number("max_turns", max_turns, 1, 10_000)
        check_number("split_seed", split_seed, 0, 2**63)
        check_real("seconds", seconds, 1, 86_400)
        check_real("test", test, 0, 1)
        check_real("validation", validation, 0, 1)
        if not Path(path).is_dir():
            raise UnknownOption(
                f"There is no folder '{path}'; write harbor:PATH with a task folder or a folder of"
                " them. A data set of Harbor's registry is fetched by harbor itself: harbor"
                " datasets download NAME."
            )
        self._path, self._environment = path, environment
        self._max_turns, self._limit = max_turns, seconds
        self._shares = (split_seed, float(test), float(validation))
        self._pool = WorkerPool(_WORKER, megabytes=65_536, python=_python(python), labels=_LABELS)
        self._session = ""
        told = self._ask({"ask": "tasks", "path": str(Path(path).resolve())}, _READ_SECONDS)
        self._version = str(told.get("version"))
        self._tasks = _shared_out(_tasks(path, told), *self._shares)

    def size(self, split: Split) -> int:
        """The number of task folders of the split."""
        return len(self._tasks[split])

    def task_id(self, number: int) -> str:
        """The folder's name."""
        return f"harbor:{self._tasks[self.split][number]['name']}"

    def fingerprint(self) -> str:
        """The hash of every task folder's content, by split, and of all that decides a score."""
        content = {s: [[t["name"], t["checksum"]] for t in self._tasks[s]] for s in SPLITS}
        decides = [self._environment, self._max_turns, self._limit, self._success_at]
        versions = [self.grader_version, self._version]
        prompt = canonical_text(self.system_prompt)
        return digest([self.name, versions, decides, prompt, content])

    def start_episode(self, number: int) -> str:
        """The instruction; the container is started now, so that a task that has none says so."""
        self.close()
        task = self._tasks[self.split][number]
        self._session = f"harness-harbor-{uuid.uuid4().hex[:16]}"
        limits = ContainerLimits()
        job = {
            "ask": "open",
            "folder": task["folder"],
            "environment": self._environment,
            "session": self._session,
            "labels": labels(limits.life_seconds),
            "limits": ["--security-opt", "no-new-privileges", "--pids-limit", "1024"],
        }
        self._ask(job, _START_SECONDS)
        return str(task["instruction"])

    def send(self, reply: str) -> HostedStep:
        """Run the reply's commands; at Done or after the last turn the tests decide."""
        parsed = parse_action(reply)
        text = NO_ACTION
        if parsed.blocks:
            text = self._run(parsed.commands)
            if parsed.blocks > 1:
                text += f"\n[only the first of {parsed.blocks} blocks was run]"
        if parsed.done or self._replies >= self._max_turns:
            return self._verdict()
        return HostedStep(text)

    def _run(self, commands: str) -> str:
        plain = commands.replace("\0", "").encode(errors="replace").decode()
        job = {"ask": "exec", "command": plain, "limit": int(self._limit)}
        done = self._ask(job, self._limit + 120)
        both = f"{done.get('out', '')}{done.get('err', '')}".encode(errors="replace")
        if len(both) > _OUTPUT_BYTES:
            half = _OUTPUT_BYTES // 2
            left_out = f"\n[… {len(both) - _OUTPUT_BYTES} bytes left out …]\n".encode()
            both = both[:half] + left_out + both[-half:]
        status = int(done.get("status") or 0)
        return observation_text(Output(both, both, status, "", 0.0), self._limit)

    def _verdict(self) -> HostedStep:
        try:
            told = self._ask({"ask": "verify"}, _START_SECONDS)
        finally:
            self.close()
        rewards = told.get("rewards")
        metrics = {str(k): v for k, v in rewards.items()} if isinstance(rewards, dict) else {}
        reward = metrics.get("reward", next(iter(metrics.values()), None))
        if len(metrics) > 1 and "reward" not in metrics:
            raise HostedEnvFailed(f"the tests gave {', '.join(metrics)}, and none named reward")
        if not isinstance(reward, int | float) or not 0 <= reward <= 1:
            raise HostedEnvFailed(f"the tests gave the reward {str(reward)[:40]}, not 0 to 1")
        return HostedStep("", float(reward), True, metrics)

    def _ask(self, job: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        try:
            answer = self._pool.ask(job, seconds)
        except WorkerFailed as error:
            self._remove()
            raise HostedEnvFailed(f"{error}") from error
        if "failed" in answer:
            raise HostedEnvFailed(one_line(answer["failed"]))
        return answer

    def _remove(self) -> None:
        """Remove the container of a worker that was killed; harmless where it is gone."""
        session, self._session = self._session, ""
        if session and self._environment == "plain":
            with suppress(OSError, subprocess.SubprocessError):
                command = ["docker", "rm", "--force", "--volumes", session]
                subprocess.run(command, capture_output=True, timeout=60, check=False)

    def close(self) -> None:
        """Remove the container of an episode under way; the worker stays for the next one."""
        if self._session:
            with suppress(HostedEnvFailed):
                self._ask({"ask": "close"}, 120.0)
            self._session = ""

    def __del__(self) -> None:
        # The worker dies with this process at the latest; an environment let go ends its own.
        pool = getattr(self, "_pool", None)
        if pool is not None:
            pool.close()


def _python(given: str) -> str:
    named = given or os.environ.get(VARIABLE, "")
    path = Path(named).expanduser()
    path = path / "bin" / "python" if named and path.is_dir() else path
    if named and path.is_file():
        return str(path.absolute())
    missing = f"There is no interpreter {path}." if named else "No interpreter is named."
    raise UnknownOption(
        f"{missing} Tasks of Harbor need one with the package harbor (Python 3.12 or newer):"
        f" python3.12 -m venv hb && hb/bin/pip install harbor, then --set"
        f" {option_key('python')}=hb (or set {VARIABLE})."
    )


def _tasks(path: str, told: Mapping[str, Any]) -> list[dict[str, str]]:
    found = told.get("tasks")
    refused = told.get("refused")
    reasons = "; ".join(map(one_line, refused[:_SHOWN_REFUSALS])) if refused else "no task.toml"
    if not isinstance(found, list) or not found:
        raise EnvError(f"harbor:{path} has no task that Harbor can read ({reasons}).")
    return [{str(k): str(v) for k, v in task.items()} for task in found]


def _shared_out(
    tasks: list[dict[str, str]], seed: int, test: float, validation: float
) -> dict[Split, list[dict[str, str]]]:
    """The tasks by split: as all of them say, else in the order of a seeded hash of their names."""
    named = {task["split"] for task in tasks}
    if named <= set(SPLITS):
        return {split: [t for t in tasks if t["split"] == split] for split in SPLITS}
    if named != {""}:
        raise EnvError(
            "Either every task names a metadata.split (train, validation, test), or none."
        )

    def place(task: dict[str, str]) -> str:
        return hashlib.sha256(f"{seed} {task['name']}".encode()).hexdigest()

    ordered = sorted(tasks, key=place)
    tested = max(1, round(len(tasks) * test)) if test else 0
    held = round(len(tasks) * validation)
    parts: dict[Split, list[dict[str, str]]] = {
        "test": ordered[:tested],
        "validation": ordered[tested : tested + held],
        "train": ordered[tested + held :],
    }
    return parts
