"""The context a method is built with, and the specification it registers with."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError
from harness.method import Method
from harness.policies.base import Policy, Sampling, TrainablePolicy
from harness.types import SystemPrompt

_OLD_FIELDS = {
    "root": "initial_prompt",
    "acting": "rollout_sampling",
    "reflector": "reflection_model",
    "reflection": "reflection_sampling",
    "reflector_is_separate": "can_reflect_concurrently",
}


@dataclass(frozen=True, slots=True)
class MethodContext:
    """Everything outside a method that it may use.

    `policy` samples the rollouts; `reflection_model` writes reflections: by default the initial
    weights. `rollout_sampling` is how the arena samples: its temperature belongs to the recorded
    log-probabilities, its token limit to Dr. GRPO. `can_reflect_concurrently` says that the
    reflection model shares nothing with the policy (an endpoint, say), so that both may work at the
    same time. `validation_tasks` is the number of tasks in the validation split, 0 if unknown.
    """

    initial_prompt: SystemPrompt
    policy: Policy
    reflection_model: Policy
    rollout_sampling: Sampling
    reflection_sampling: Sampling
    can_reflect_concurrently: bool = False
    validation_tasks: int = 0

    def __getattr__(self, name: str) -> Any:
        """Old field names, read for this version with a warning that names the new one."""
        if name not in _OLD_FIELDS:
            raise AttributeError(f"MethodContext has no field {name!r}")
        new = _OLD_FIELDS[name]
        warnings.warn(f"context.{name} is now context.{new}", FutureWarning, stacklevel=2)
        return getattr(self, new)

    def trainable(self, method: str) -> TrainablePolicy:
        """The policy, for a method that trains its weights.

        Raises:
            UsageError: The policy cannot be trained, or temperature 0 makes all samples equal.
        """
        if not isinstance(self.policy, TrainablePolicy):
            raise UsageError(
                f"Method '{method}' trains weights, but {self.policy.name} can only be sampled; "
                "choose --method evolution or reflection, or a model that can be trained, "
                "as in --model hf:Qwen/Qwen3-4B."
            )
        if self.rollout_sampling.temperature <= 0:
            raise UsageError(
                f"Method '{method}' learns from differences between samples, but temperature 0 "
                "samples the same completion each time; try --set sampling.temperature=1.0."
            )
        return self.policy


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A method's entry in the registry; `build(config, context)` makes the method.

    The first line of `build`'s docstring is its description. `trains` says whether it needs a
    policy whose weights can be updated, `plays` whether it has rollouts. `card`
    describes its loss, one line each, from the config and the rollout sampling.
    """

    config: type[Any]
    build: Callable[[Any, MethodContext], Method]
    trains: bool
    plays: bool = True
    card: Callable[[Any, Sampling], Sequence[str]] | None = None
