"""Plays environments of the verifiers package, in a process of `envs.workers`.

Another interpreter runs it, with the standard library and verifiers, without this package.

An environment runs its own rollout and asks a model for completions; that model is
`model_endpoint.py`. So `begin` and `reply` answer with what the environment asks next, or with what
it says the episode was worth.
"""

import asyncio
import hashlib
import importlib
import importlib.metadata
import json
import logging
import os
import runpy
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Answer = dict[str, Any]

TOKEN = "ESPL_HARNESS_WORLD_TOKEN"
_HERE = Path(__file__).parent
_ENDPOINT_MODULE = runpy.run_path(str(_HERE / "model_endpoint.py"))
_TASKSETS = runpy.run_path(str(_HERE / "tasksets.py"))
_REAPER = runpy.run_path(str(_HERE.parents[1] / "workers" / "reaper.py"))
_REWARD_ERROR = "reward function"  # part of what rubrics log when they turn an error into 0


class RewardErrors(logging.Handler):
    """Errors of reward functions, which rubrics only log and count as 0."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it if it is about a reward function."""
        text = record.getMessage()
        if _REWARD_ERROR in text:
            self.errors.append(text[:500])


def import_environment(name: str, old: bool) -> Any:
    """The module of an environment: of verifiers' own, or installed under its name."""
    module = name.split("@")[0].split("/")[-1].replace("-", "_")
    if not old:
        loaders: Any = importlib.import_module("verifiers.v1.utils.loaders")
        return loaders.import_taskset(name)
    return importlib.import_module(module)


def row_hash(row: Any) -> str:
    """A hash of a task's content, whatever its number."""
    kept = {key: row[key] for key in ("prompt", "answer", "info") if key in row}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def source_hashes(module: Any) -> list[str]:
    """Hashes of the Python files an environment is written in."""
    file = Path(module.__file__ or "")
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    return [hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.is_file()]


class LoadedEnv:
    """An environment with `load_environment`, as verifiers had them from 0.1 to 0.3."""

    def __init__(self, module: Any, job: Job) -> None:
        verifiers: Any = importlib.import_module("verifiers")
        self._env = verifiers.load_environment(job["name"], **job["arguments"])
        # A lower limit of its own would end episodes before the option max_turns does.
        env_limit = getattr(self._env, "max_turns", None)
        if isinstance(env_limit, int) and not 0 < env_limit <= job["turns"]:
            self._env.max_turns = job["turns"]
        self.reward_errors = RewardErrors()
        logger = logging.getLogger("verifiers")
        logger.setLevel(logging.ERROR)
        logger.addHandler(self.reward_errors)
        self._parts = {"train": self._env.build_dataset(), "eval": self._env.build_eval_dataset()}

    def description(self) -> Answer:
        """Facts about it that need no episode."""
        env = self._env
        if getattr(env, "requires_group_rollouts", False):
            raise ValueError("it scores replies in groups, so a single episode has no reward")
        rows = {part: list(map(row_hash, rows or ())) for part, rows in self._parts.items()}
        return {"kind": type(env).__name__, "system": env.system_prompt or "", "parts": rows}

    async def play(self, part: str, number: int, url: str) -> Answer:
        """One rollout against the endpoint, scored by its own rubric."""
        self.reward_errors.errors.clear()
        row = dict(self._parts[part][number])
        row.setdefault("example_id", number)
        # The policy takes as long as it needs: a client that gives up or asks again spoils the
        # episode.
        config = importlib.import_module("verifiers.types").ClientConfig(
            api_key_var=TOKEN, api_base_url=url, max_retries=0, timeout=7 * 86400.0
        )
        client = importlib.import_module("verifiers.clients").resolve_client(config)
        try:
            result = await self._env.run_rollout(row, client, "model", {})
        finally:
            await client.close()
        failed = result.get("error")
        if result.get("stop_condition") == "timeout_reached":
            failed = "its own time limit was reached"
        elif not failed and self.reward_errors.errors:
            failed = self.reward_errors.errors[0]
        return {
            "failed": str(failed)[:500] if failed else "",
            "reward": result.get("reward"),
            "metrics": {
                k: v for k, v in (result.get("metrics") or {}).items() if is_json_number(v)
            },
        }


def is_json_number(value: Any) -> bool:
    """True for a number that JSON can hold."""
    return isinstance(value, int | float) and value == value and abs(value) != float("inf")


class EnvServer:
    """Serves one environment: what it is, and one episode after another."""

    def __init__(self) -> None:
        self._endpoint: Any = _ENDPOINT_MODULE["ModelEndpoint"]()
        os.environ[TOKEN] = self._endpoint.token
        # The endpoint is on this machine, and a proxy would not find it.
        for name in ("NO_PROXY", "no_proxy"):
            os.environ[name] = ",".join(filter(None, [os.environ.get(name, ""), "127.0.0.1"]))
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._key, self._source_hashes = "", list[str]()
        self._env: Any = None
        self._conversation: Any = None
        self._rollout: Any = None

    def answer(self, job: Job) -> Answer:
        """`describe`, `begin` (part, number) or `reply` (text); each names the environment."""
        self._load(job)
        if job["ask"] == "describe":
            env = self._env
            version = importlib.metadata.version("verifiers")
            return {**env.description(), "version": version, "sources": self._source_hashes}
        if job["ask"] == "begin":
            self._start_episode(str(job["part"]), int(job["number"]))
        elif self._conversation is None:
            raise LookupError("no episode is being played in this process")
        else:
            self._conversation.reply(job["text"])
        result: Answer = self._conversation.events.get()
        if "over" in result:
            self._conversation = None
        return result

    def _load(self, job: Job) -> None:
        named = [job["name"], job["folder"], job["arguments"], job["turns"]]
        key = json.dumps(named, sort_keys=True)
        if key == self._key:
            return
        if job["folder"] and job["folder"] not in sys.path:
            sys.path.insert(0, job["folder"])
            # Tool servers of tasks are processes of their own, which import the environment too.
            os.environ["PYTHONPATH"] = job["folder"]
        verifiers: Any = importlib.import_module("verifiers")
        module = import_environment(job["name"], hasattr(verifiers, "load_environment"))
        if hasattr(verifiers, "load_environment"):
            if not hasattr(module, "load_environment"):
                raise ValueError(
                    f"{module.__name__} has no load_environment, which this verifiers needs; a"
                    " taskset needs verifiers 0.4 there"
                )
            self._env = LoadedEnv(module, job)
        else:
            if hasattr(module, "load_environment"):
                raise ValueError(
                    "an environment with load_environment needs verifiers before 0.4: install"
                    " 'verifiers<0.4' there"
                )
            self._env = _TASKSETS["LoadedTaskset"](job, TOKEN)
        self._key, self._source_hashes = key, source_hashes(module)

    def _start_episode(self, part: str, number: int) -> None:
        if self._conversation is not None:
            self._conversation.abandon()
            self._rollout.cancel()
        url, conversation = self._endpoint.open()
        self._conversation = conversation
        env = self._env
        rollout = self._report(env.play(part, number, url), url, conversation)
        self._rollout = asyncio.run_coroutine_threadsafe(rollout, self._loop)

    async def _report(
        self, rollout: Coroutine[Any, Any, Answer], url: str, conversation: Any
    ) -> None:
        try:
            over = await rollout
        except Exception as error:  # whatever the environment raises: the episode has no score
            over = {"failed": f"{type(error).__name__}: {error}"[:500]}
        finally:
            self._endpoint.close(url)
        conversation.events.put({"over": over})


def make() -> Callable[[Job], Answer]:
    """The function that `envs.workers.serve` serves."""
    # serve.py switched logging off, but errors of reward functions are seen in the log alone.
    logging.disable(logging.NOTSET)
    # verifiers starts tool servers and programs in sessions of their own.
    _REAPER["guard"]()
    importlib.import_module("verifiers")
    return EnvServer().answer
