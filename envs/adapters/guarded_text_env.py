"""Guards for text environments of other packages: limited calls, and checked results."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from envs.adapters.returned_values import form_of, reset_values, step_values
from envs.errors import EnvFault
from envs.guarded_calls import guarded

TEXT_STEP_SECONDS = 120.0
"""Seconds for one call of a text environment: its grader may run programs or ask a model."""
_METHODS = ("reset", "step", "oracle", "problem", "judge", "regrade", "close")


def guard(name: str, env: Any) -> None:
    """Guard the methods of one text environment; its attribute `step_seconds` sets the limit."""
    limit = getattr(env, "step_seconds", TEXT_STEP_SECONDS)
    seconds = float(limit) if isinstance(limit, int | float) else TEXT_STEP_SECONDS
    for method in _METHODS:
        call = getattr(env, method, None)
        if callable(call):
            # On the object: its class stays as it is, for callers that ask which class it is.
            setattr(env, method, _guarded_method(name, seconds, method, call))


def _guarded_method(
    name: str, seconds: float, method: str, call: Callable[..., Any]
) -> Callable[..., Any]:
    @wraps(call)
    def limited(*args: Any, **kwargs: Any) -> Any:
        result = guarded(name, seconds, call, *args, **kwargs)
        if method == "reset":
            observation, info = reset_values(result)
            return _text(method, observation), dict(info)
        if method == "step":
            observation, *rest, info = step_values(result)
            return _text(method, observation), *rest, dict(info)
        return result

    return limited


def _text(method: str, observation: object) -> str:
    if not isinstance(observation, str):
        raise EnvFault(f"the observation of {method}() is {form_of(observation)}, not a text")
    return observation
