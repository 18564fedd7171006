"""What a method is given, and how it introduces itself to the registry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.method import Method
from harness.policies.base import Policy, Sampling, TrainablePolicy
from harness.types import SystemPrompt


@dataclass(frozen=True, slots=True)
class MethodContext:
    """Everything outside a method that it may use: a root prompt, who acts, and who reflects.

    `acting` is how the arena samples: its temperature belongs to the recorded log-probabilities,
    its token limit to Dr. GRPO. `reflector_is_separate` says that the reflector shares nothing with
    the trained policy (an endpoint, say), so that both may work at the same time.
    `validation_tasks` is how many Task("validation", 0 …) the world has; 0 where nobody says.
    """

    root: SystemPrompt
    policy: Policy
    reflector: Policy
    acting: Sampling
    reflection: Sampling
    reflector_is_separate: bool = False
    validation_tasks: int = 0

    def trainable(self, method: str) -> TrainablePolicy:
        """The policy, which this method needs to be able to train; else a usage error."""
        if not isinstance(self.policy, TrainablePolicy):
            raise UsageError(
                f"Method '{method}' trains weights, but {self.policy.name} only replies; "
                "choose --method evolution or reflection, or a model that can be trained, "
                "as in --model hf:Qwen/Qwen3-4B."
            )
        if self.acting.temperature <= 0:
            raise UsageError(
                f"Method '{method}' learns from differences between samples, but temperature 0 "
                "samples the same reply each time; try --set sampling.temperature=1.0."
            )
        return self.policy


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A method as the registry knows it: `build(config, inputs)` makes one.

    The first line of `build`'s docstring is its description. `trains` says whether it needs a
    policy whose weights can be updated, `plays` whether it plays training episodes at all. `card`
    says, from the config and how the arena samples, what its loss comes to, a line each.
    """

    config: type[Any]
    build: Callable[[Any, MethodContext], Method]
    trains: bool
    plays: bool = True
    card: Callable[[Any, Sampling], Sequence[str]] | None = None
