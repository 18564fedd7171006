"""Plays tasks of inspect_ai, in a process of `envs.workers`.

Another interpreter runs it, with the standard library and inspect_ai, without this package. A
task's samples are evaluated one at a time by inspect_ai itself; its model is one of inspect_ai's
model API here, whose completions are the replies of the policy.
"""

import asyncio
import copy
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import logging
import os
import runpy
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Answer = dict[str, Any]

_INTEGRATIONS = Path(__file__).parents[1]
_ENDPOINT = runpy.run_path(str(_INTEGRATIONS / "verifiers" / "model_endpoint.py"))
_REAPER = runpy.run_path(str(_INTEGRATIONS.parent / "workers" / "reaper.py"))


def wire_message(message: Any) -> dict[str, Any]:
    """A message of inspect_ai as endpoints have it; parts that are no text are kept as such."""
    content = message.content
    if not isinstance(content, str):
        shown = [part for part in content if getattr(part, "type", "") != "reasoning"]
        content = [
            {"type": "text", "text": part.text} if part.type == "text" else {"type": part.type}
            for part in shown
        ]
    failed = getattr(message, "error", None)
    if failed is not None:
        content = f"error: {failed.message}"
    return {"role": message.role, "content": content}


def wire_tool(tool: Any) -> dict[str, Any]:
    """A tool's definition as endpoints have it."""
    parameters = tool.parameters.model_dump(mode="json", exclude_none=True)
    return {"name": tool.name, "description": tool.description, "parameters": parameters}


def output_of(said: dict[str, Any]) -> Any:
    """An endpoint's message as the output of a model of inspect_ai."""
    model: Any = importlib.import_module("inspect_ai.model")
    tool_call: Any = importlib.import_module("inspect_ai.tool").ToolCall
    calls = [
        tool_call(
            id=call["id"],
            function=call["function"]["name"],
            arguments=json.loads(call["function"]["arguments"]),
        )
        for call in said.get("tool_calls", ())
    ]
    message = model.ChatMessageAssistant(content=said["content"], tool_calls=calls or None)
    reason = "tool_calls" if calls else "stop"
    choice = model.ChatCompletionChoice(message=message, stop_reason=reason)
    return model.ModelOutput(model="policy", choices=[choice])


def make_models(conversation: Callable[[], Any]) -> tuple[Any, Any]:
    """Models of inspect_ai: one whose completions are replies in a conversation, one that refuses.

    The second is for scorers that ask a model where none was named: the policy never grades itself.
    """
    model: Any = importlib.import_module("inspect_ai.model")

    class Policy(model.ModelAPI):  # type: ignore[misc]  # known when it runs
        """The policy that is trained or evaluated."""

        async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:
            """Wait for the policy's reply; its calls are told apart from its text."""
            offered = [] if tool_choice == "none" else list(tools)
            asked = {
                "messages": [wire_message(message) for message in input],
                "tools": [wire_tool(tool) for tool in offered],
            }
            whole = await asyncio.to_thread(conversation().ask, asked)
            if whole is None:
                raise RuntimeError("the episode was given up")
            return output_of(whole["choices"][0]["message"])

        def max_connections(self) -> int:
            """One request at a time, as the policy answers them."""
            return 1

    class NoGrader(model.ModelAPI):  # type: ignore[misc]  # known when it runs
        """A model that refuses."""

        async def generate(self, input: Any, tools: Any, tool_choice: Any, config: Any) -> Any:
            """Say which option names a model."""
            raise RuntimeError("its scorer asks a model: name one by --set env.grader=MODEL")

    # inspect_ai takes models that are registered, by the functions that return their classes.
    for name, kind in (("harness_policy", Policy), ("harness_grader", NoGrader)):
        model.modelapi(name=name)(lambda kind=kind: kind)
    policy = model.get_model("harness_policy/policy", memoize=False)
    return policy, model.get_model("harness_grader/none", memoize=False)


class LoadedTask:
    """A task and its samples."""

    def __init__(self, job: Job) -> None:
        self._choices = job["arguments"]
        self._turns = int(job["turns"])
        loader: Any = importlib.import_module("inspect_ai._eval.loader")
        spec, self.sources = job["name"], list[str]()
        if job["folder"]:
            stem, at, name = job["name"].partition("@")
            file = Path(job["folder"]) / f"{stem}.py"
            # inspect_ai takes names of files from its own folder on only.
            os.chdir(file.parent)
            spec = f"{stem}.py{at}{name}"
            self.sources = [hashlib.sha256(file.read_bytes()).hexdigest()]
        tasks = loader.load_tasks([spec], self._choices["arguments"])
        if len(tasks) != 1:
            named = ", ".join(task.name for task in tasks) or "none"
            raise ValueError(f"{spec} has {len(tasks)} tasks ({named}); name one as FILE.py@NAME")
        self._task = tasks[0]
        self._samples = list(self._task.dataset)
        self._conversation: Any = None
        self._policy, self._no_grader = make_models(lambda: self._conversation)
        if not self._task.scorer:
            raise ValueError("it has no scorer, so its episodes have no reward")

    def description(self) -> Answer:
        """Facts about it that need no episode."""
        rows = [sample_hash(sample) for sample in self._samples]
        parts = {"train": rows, "eval": list[str]()}
        return {"kind": self._task.name, "system": "", "parts": parts, "sources": self.sources}

    def play(self, number: int, conversation: Any) -> Answer:
        """One sample, solved by the policy and scored by the task's scorer."""
        inspect_ai: Any = importlib.import_module("inspect_ai")
        self._conversation = conversation
        sample = copy.deepcopy(self._samples[number])
        task = inspect_ai.task_with(copy.copy(self._task), dataset=[sample], epochs=1)
        # A task may name models of its own, which are for the benchmark's usual use.
        task.model = None
        options = {"sandbox": self._choices["sandbox"]} if self._choices["sandbox"] else {}
        accepted = inspect.signature(inspect_ai.eval_async).parameters
        if "turn_limit" in accepted:
            options["turn_limit"] = self._turns
        with tempfile.TemporaryDirectory(prefix="inspect-") as folder:
            logs = asyncio.run(
                inspect_ai.eval_async(
                    task,
                    model=self._policy,
                    model_roles={"grader": self._choices["grader"] or self._no_grader},
                    log_dir=folder,
                    log_realtime=False,
                    log_level="error",
                    fail_on_error=False,
                    max_samples=1,
                    **options,
                )
            )
            # Samples are read from the log's file when they are asked for.
            return self._result(logs[0])

    def _result(self, log: Any) -> Answer:
        samples = log.samples or []
        failed = log.error.message if log.error else "" if samples else "no sample was evaluated"
        if not failed and samples[0].error:
            failed = samples[0].error.message
        scores = (samples[0].scores or {}) if not failed else {}
        if failed or not scores:
            return {"failed": failed or "its scorer gave no score", "reward": None, "metrics": {}}
        name = self._choices["scorer"] or next(iter(scores))
        if name not in scores:
            told = f"it has no scorer '{name}', but {', '.join(scores)}"
            return {"failed": told, "reward": None, "metrics": {}}
        to_float: Any = importlib.import_module("inspect_ai.scorer").value_to_float()
        value = scores[name].value
        if isinstance(value, dict):
            part = self._choices["part"] or (next(iter(value)) if len(value) == 1 else "")
            if part not in value:
                told = f"its score has the parts {', '.join(value)}: name one by env.part"
                return {"failed": told, "reward": None, "metrics": {}}
            value = value[part]
        if isinstance(value, list):
            told = "its score is a list, which is no reward"
            return {"failed": told, "reward": None, "metrics": {}}
        metrics = {
            key: to_float(score.value)
            for key, score in scores.items()
            if isinstance(score.value, str | int | float)
        }
        return {"failed": "", "reward": number_of(value, to_float), "metrics": metrics}


def number_of(value: Any, to_float: Any) -> Any:
    """A score as a number; a text that stands for none is passed on, and is then no reward."""
    known = {"C", "I", "P", "N", "yes", "no", "true", "false"}
    if isinstance(value, str) and value not in known:
        try:
            return float(value)
        except ValueError:
            return value
    return to_float(value)


def sample_hash(sample: Any) -> str:
    """A hash of a sample's content, whatever its number."""
    data = sample.model_dump(mode="json", exclude_none=True, exclude={"id"})
    for message in data["input"] if isinstance(data["input"], list) else ():
        message.pop("id", None)  # drawn anew with every load
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


class TaskServer:
    """Serves one task: what it is, and one episode after another."""

    def __init__(self) -> None:
        self._key = ""
        self._task: LoadedTask | None = None
        self._conversation: Any = None
        self._player: threading.Thread | None = None

    def answer(self, job: Job) -> Answer:
        """`describe`, `begin` (part, number) or `reply` (text); each names the task."""
        self._load(job)
        assert self._task is not None
        if job["ask"] == "describe":
            version = importlib.metadata.version("inspect_ai")
            return {**self._task.description(), "version": version}
        if job["ask"] == "begin":
            self._begin(int(job["number"]))
        elif self._conversation is None:
            raise LookupError("no episode is being played in this process")
        else:
            self._conversation.reply(job["text"])
        result: Answer = self._conversation.events.get()
        if "over" in result:
            self._conversation = None
        return result

    def _load(self, job: Job) -> None:
        key = json.dumps([job["name"], job["folder"], job["arguments"], job["turns"]])
        if key != self._key:
            if job["folder"] and job["folder"] not in sys.path:
                sys.path.insert(0, job["folder"])
            self._task, self._key = LoadedTask(job), key

    def _begin(self, number: int) -> None:
        if self._conversation is not None:
            self._conversation.abandon()
        # Two evaluations at once are refused by inspect_ai.
        if self._player is not None:
            self._player.join()
        self._conversation = _ENDPOINT["Conversation"]()
        run = threading.Thread(target=self._play, args=(number, self._conversation), daemon=True)
        self._player = run
        run.start()

    def _play(self, number: int, conversation: Any) -> None:
        assert self._task is not None
        try:
            over = self._task.play(number, conversation)
        except BaseException as error:  # whatever it raises: the episode has no score
            over = {"failed": f"{type(error).__name__}: {error}"[:500]}
        conversation.events.put({"over": over})


def make() -> Callable[[Job], Answer]:
    """The function that `envs.workers.serve` serves."""
    # Tasks may start programs in sessions of their own, such as a local sandbox's.
    _REAPER["guard"]()
    os.environ["INSPECT_DISPLAY"] = "none"
    logging.disable(logging.CRITICAL)
    importlib.import_module("inspect_ai")
    return TaskServer().answer
