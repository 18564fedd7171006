"""Checks of what an environment's `reset` and `step` return: anything may come from other people.

What is meant clearly is taken (an array of one number as a reward, no info at all); of all else
EnvFault says what came and what should have.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.errors import EnvFault

MAX_REWARD = 1e12
_SHOWN = 80  # characters of a value in a message


def reset_values(result: Any) -> tuple[Any, Mapping[str, Any]]:
    """The observation and info that `reset` returned."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        old = " That is the form of Gym before 0.26;" if not _is_pair_like(result) else ""
        raise EnvFault(
            f"reset() returned {form_of(result)}, not the pair (observation, info).{old}"
            f"{' wrap it' if old else ' Wrap it'} in a gymnasium.Wrapper that returns both."
        )
    observation, info = result
    return observation, _info("reset", info)


def step_values(result: Any) -> tuple[Any, float, bool, bool, Mapping[str, Any]]:
    """The observation, reward, terminated, truncated and info that `step` returned."""
    if not isinstance(result, tuple | list) or len(result) != 5:
        old = isinstance(result, tuple | list) and len(result) == 4
        why = " Four are the form of Gym before 0.26." if old else ""
        raise EnvFault(
            f"step() returned {form_of(result)}, not the five values (observation, reward,"
            f" terminated, truncated, info).{why}"
        )
    observation, reward, terminated, truncated, info = result
    return (
        observation,
        finite_number(reward),
        _flag("terminated", terminated),
        _flag("truncated", truncated),
        _info("step", info),
    )


def finite_number(reward: Any) -> float:
    """A reward as a number; raises EnvFault where it is none, or infinite."""
    one = _single(reward)
    number = math.nan
    if isinstance(one, int | float | np.number) and not isinstance(
        one, complex | np.complexfloating
    ):
        try:
            number = float(one)
        except OverflowError:  # a whole number of hundreds of digits
            raise EnvFault("the reward is a whole number that no float can hold") from None
    if math.isfinite(number):
        if abs(number) > MAX_REWARD:
            raise EnvFault(
                f"the reward is {number:g}, beyond {MAX_REWARD:g}, up to which results are exact"
            )
        return number
    if isinstance(one, float | np.floating):
        raise EnvFault(
            f"the reward is {'NaN' if math.isnan(number) else number}, which is no number"
        )
    raise EnvFault(f"the reward is {form_of(reward)}, not a number")


def form_of(value: Any) -> str:
    """A value's form in a few words, for messages: its type, and its length or shape."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, tuple | list | dict):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, bool | int | float | str | np.generic):
        # Not repr of just anything: it may be code of the environment's own, or endless.
        shown = repr(value) if not isinstance(value, str) else repr(value[:_SHOWN])
        return f"the {type(value).__name__} {shown[:_SHOWN]}"
    return f"a {type(value).__name__}"


def _is_pair_like(result: Any) -> bool:
    return result is None or isinstance(result, tuple | list)


def _single(value: Any) -> Any:
    """The one element of an array of one, else the value itself (a tensor too has `item`)."""
    size = getattr(value, "size", None)
    size = getattr(value, "numel", None) if callable(size) else size
    try:
        count = size() if callable(size) else size
        return value.item() if count == 1 and callable(getattr(value, "item", None)) else value
    except Exception:  # an object of its own that only looks like an array
        return value


def _flag(name: str, value: Any) -> bool:
    one = _single(value)
    if isinstance(one, bool | np.bool_) or (isinstance(one, int | np.integer) and one in (0, 1)):
        return bool(one)
    raise EnvFault(f"'{name}' is {form_of(value)}, not True or False")


def _info(method: str, info: Any) -> Mapping[str, Any]:
    if info is None:
        return {}
    if not isinstance(info, Mapping):
        raise EnvFault(f"the info of {method}() is {form_of(info)}, not a dict")
    return info
