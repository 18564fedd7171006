"""Tasks of inspect_ai, played in an interpreter of their own: `inspect:TASK`.

A task's samples are the tasks here; its solver asks the policy for completions, through a model of
inspect_ai's model API, and its scorer decides. Errors of samples and scorers are unscored.
"""

import sys
from pathlib import Path
from typing import Any

from envs.errors import UnknownEnv
from envs.integrations.interpreter_env import InterpreterEnv, is_path, locate
from envs.text_env import Split

PYTHON = "HARNESS_INSPECT_PYTHON"
"""Names the interpreter where the option does not."""


class Inspect(InterpreterEnv):
    """A task of inspect_ai, in an interpreter of its own (option `python`).

    Any other option is an argument of the task.

    Args:
        environment: Registered name of a task, or the path of its file; `file.py@name` names one of
            several tasks of a file.
        python: Python interpreter that has inspect_ai, or the folder of its virtual environment;
            empty: the one that HARNESS_INSPECT_PYTHON names, else the one that runs the harness.
        max_turns (1 to 10000; in completions): Completions of an episode at most.
        seconds (1 to 86400; in seconds): Time that one response of the task may take.
        at_once (1 to 256; in processes): Processes that run episodes side by side.
        memory_mb (64 to 1048576; in MB): Memory limit of each process.
        tools (one of text, native): Way in which tools are offered: "text" with the first question,
            "native" as definitions for the model's chat template or endpoint.
        scorer: Name of the scorer whose score is the reward; empty: the first.
        part: Name of the part that is the reward, where a score has several.
        grader: Model of inspect_ai for scorers that ask one; empty: such scorers leave episodes
            unscored.
        sandbox: Sandbox of inspect_ai in place of the task's own, such as local or docker.
    """

    name = "inspect"
    grader_version = "inspect-1"
    framework = "inspect"
    script = Path(__file__).with_name("worker.py")
    variable = PYTHON
    install = "inspect_ai"
    venv = "insp"

    def __init__(
        self,
        *,
        environment: str,
        split: Split = "train",
        python: str = "",
        max_turns: int = 50,
        seconds: float = 120.0,
        at_once: int = 2,
        memory_mb: int = 16384,
        success_at: float = 1.0,
        reply_tokens: int = 512,
        tools: str = "native",
        scorer: str = "",
        part: str = "",
        grader: str = "",
        sandbox: str = "",
        **arguments: Any,
    ) -> None:
        choices = {"scorer": scorer, "part": part, "grader": grader, "sandbox": sandbox}
        self.arguments = {"arguments": arguments, **choices}
        super().__init__(
            environment=environment,
            split=split,
            python=python,
            max_turns=max_turns,
            seconds=seconds,
            at_once=at_once,
            memory_mb=memory_mb,
            success_at=success_at,
            reply_tokens=reply_tokens,
            tools=tools,
        )

    def locate(self, environment: str) -> tuple[str, str]:
        """The folder of a task's file, "" for a registered task, and the task's name."""
        file, at, task = environment.partition("@")
        if not is_path(file):
            return "", environment
        folder, stem = locate(file)
        if not Path(file).expanduser().is_file():
            raise UnknownEnv(f"{file} is no Python file; name the file of a task.")
        return folder, f"{stem}{at}{task}"

    def default_interpreter(self) -> str:
        """This interpreter, where inspect_ai is installed beside the harness."""
        import importlib.util

        return sys.executable if importlib.util.find_spec("inspect_ai") else ""
