"""Environments of the verifiers package, played in an interpreter of their own: `verifiers:ENV_ID`.

The package (or what it needs) owns the top-level name `agents`, so it cannot be installed beside
this project. The option `python` names the interpreter that has it. Inside it the environment talks
to a model on loopback, behind a token; see `worker`.

Rewards are its rubric's. A reward function that raises counts as 0 in versions before 0.4; here the
episode is unscored.
"""

from pathlib import Path
from typing import Any

from envs.integrations.interpreter_env import InterpreterEnv
from envs.text_env import Split

PYTHON = "HARNESS_VERIFIERS_PYTHON"
"""Names the interpreter where the option does not."""


class Verifiers(InterpreterEnv):
    """An environment of the verifiers package, in an interpreter of its own (option `python`).

    Any other option is an argument of its `load_environment`, or of its taskset's configuration;
    with verifiers 0.4, `harness` and `runtime` name the agent's program and where it runs.

    Args:
        environment: Name of an installed environment, or the path of its folder.
        python: Python interpreter that has verifiers, or the folder of its virtual environment;
            empty: the one that HARNESS_VERIFIERS_PYTHON names.
        max_turns (1 to 10000; in completions): Completions of an episode at most.
        seconds (1 to 86400; in seconds): Time that one response of the environment may take.
        at_once (1 to 256; in processes): Processes that run episodes side by side.
        memory_mb (64 to 1048576; in MB): Memory limit of each process.
        tools (one of text, native): Way in which tools are offered: "text" with the first question,
            "native" as definitions for the model's chat template or endpoint.
    """

    name = "verifiers"
    grader_version = "rubric-1"
    framework = "verifiers"
    script = Path(__file__).with_name("worker.py")
    variable = PYTHON
    install = "'verifiers<0.4' (for tasksets: verifiers)"
    venv = "vf"

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
        **arguments: Any,
    ) -> None:
        self.arguments = arguments
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
