"""What the harness asks of a world: a text Gymnasium environment that knows its own tasks.

The worlds themselves live in `envs/`, which knows nothing of this module; any object of this
shape will do.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from harness.types import Split


class TextEnvProtocol(Protocol):
    """A text world, as `gymnasium.make(...).unwrapped` returns it.

    `reset(seed=n)` starts task n of the world's split. `step` takes the raw reply. `info` carries
    `outcome` ("scored" or "unscored", read before any reward), `success` (bool), `feedback` (str),
    `answer` (ground truth where training may see it) and `task` (a stable id).
    """

    system_prompt: str

    def size(self, split: Split) -> int:
        """How many tasks the split has; their seeds are 0 … size − 1."""
        ...

    def fingerprint(self) -> str:
        """A hash of everything that decides what is asked and how it is scored."""
        ...

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, Mapping[str, Any]]:
        """Start a task; returns its text and info."""
        ...

    def step(self, action: str) -> tuple[str, float, bool, bool, Mapping[str, Any]]:
        """Judge a reply; returns observation, reward, terminated, truncated, info."""
        ...

    def oracle(self) -> str:
        """A reply that earns the full reward for the current turn."""
        ...

    def close(self) -> None:
        """Let go of what the world holds."""
        ...


MakeWorld = Callable[[Split], TextEnvProtocol]


class EnvFailed(Exception):
    """A world that is elsewhere failed; its text is the reason, as it is told there."""
