"""The environment protocol of the harness: a text Gymnasium environment that knows its own tasks.

The environments themselves live in `envs/`, which does not import this module; any object with
these methods will do.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from harness.types import Split


class TextEnvProtocol(Protocol):
    """A text environment, as `gymnasium.make(...).unwrapped` returns it.

    `reset(seed=n)` starts task n of the environment's split. `step` takes the
    reply: the completion without finished thoughts, unless the environment reads those too.
    `info` has `outcome` ("scored" or "unscored", read before any reward), `success` (bool),
    `feedback` (str), `answer` (ground truth where training may see it) and `task` (a stable id).

    Optional abilities are declared in `harness.env_capabilities`.
    """

    system_prompt: str

    def size(self, split: Split) -> int:
        """The number of tasks in the split; their seeds are 0 … size − 1."""
        ...

    def fingerprint(self) -> str:
        """A hash of everything that decides the tasks and their scoring."""
        ...

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, Mapping[str, Any]]:
        """Start a task; returns (observation, info)."""
        ...

    def step(self, action: str) -> tuple[str, float, bool, bool, Mapping[str, Any]]:
        """Grade a reply; returns (observation, reward, terminated, truncated, info)."""
        ...

    def oracle(self) -> str:
        """The reference solution: a reply with the full reward for the current turn."""
        ...

    def close(self) -> None:
        """Release what the environment holds."""
        ...


MakeEnv = Callable[[Split], TextEnvProtocol]


class EnvFailed(Exception):
    """An environment that runs elsewhere failed; the text is its own reason."""
