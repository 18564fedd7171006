"""Check of a Gymnasium environment's values: observations in their space, rewards as numbers.

The inner environment is played with sampled actions, without any text in between.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.adapters.gymnasium_env import GymnasiumTextEnv
from envs.adapters.returned_values import form_of, reset_values, step_values
from envs.checks.env_probe import EnvProbe, Status
from envs.guarded_calls import guarded

_TASKS = 5
_STEPS = 100
_UNUSUAL_SEED = 2_718_281_828


def values_as_declared(subject: EnvProbe) -> tuple[Status, str]:
    """Play with sampled actions; the first value that is not as declared fails the check."""
    env = subject.make()
    if not isinstance(env, GymnasiumTextEnv):
        return "not asked", "It gives texts; the other checks read them."
    steps = 0
    with _generators_restored():
        before = _generators()
        for task in subject.tasks("train", _TASKS):
            for where, fault in _faults(subject, env, task):
                steps += 1
                if fault:
                    return "failed", f"{where} of task {task}: {fault}."
        after = _generators()
    env.close()
    if used := [name for name, state in after.items() if state != before[name]]:
        return "failed", (
            f"It draws from or seeds the generator of the whole process ({', '.join(used)}): its"
            " copies disturb each other. Use self.np_random."
        )
    return "passed", f"{steps} observations are in their space, and every reward is a number."


@contextmanager
def _generators_restored() -> Iterator[None]:
    """Seed the shared generators as no environment would, so that any seeding shows."""
    plain, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(_UNUSUAL_SEED)
    np.random.seed(_UNUSUAL_SEED)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(arrays)  # noqa: NPY002


def _generators() -> dict[str, str]:
    """The states of the random generators that a process shares, by module."""
    return {
        "random": str(hash(random.getstate())),
        "numpy.random": str(hash(str(np.random.get_state(legacy=False)["state"]))),  # noqa: NPY002
    }


def _faults(subject: EnvProbe, env: GymnasiumTextEnv, task: int) -> Iterator[tuple[str, str]]:
    """For reset and each step, its name and the fault of what it returned; "" for none."""
    inner, seconds = env.inner, env.step_seconds
    result = guarded(subject.name, seconds, inner.reset, seed=task)
    yield "reset()", fault_of(inner.observation_space, reset_values(result)[0])
    inner.action_space.seed(task)
    for number in range(1, _STEPS + 1):
        if subject.deadline.passed():
            subject.deadline.left_out.append(f"the steps of task {task} from {number} on")
            return
        action = inner.action_space.sample()
        observation, _, terminated, truncated, _ = step_values(
            guarded(subject.name, seconds, inner.step, action)
        )
        yield f"step() {number}", fault_of(inner.observation_space, observation)
        if terminated or truncated:
            return


def fault_of(space: spaces.Space[Any], value: Any) -> str:
    """The reason why an observation is not in its space; "" where it is.

    The characters of texts and the precision of numbers are nobody's loss, and not asked about.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or set(value) != set(space.keys()):
            return (
                f"the observation is {form_of(value)}, where its space has {sorted(space.keys())}"
            )
        parts = ((f"'{key}': ", part, value[key]) for key, part in space.items())
        return next((k + fault for k, p, v in parts if (fault := fault_of(p, v))), "")
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            return f"the observation is {form_of(value)}, where its space has {len(space.spaces)}"
        both = zip(space.spaces, value, strict=True)
        return next((fault for part, one in both if (fault := fault_of(part, one))), "")
    if isinstance(space, spaces.Text):
        if not isinstance(value, str):
            return f"the observation is {form_of(value)}, not a text"
        return (
            ""
            if len(value) <= space.max_length
            else (
                f"the observation has {len(value)} characters, its space at most {space.max_length}"
            )
        )
    if isinstance(space, spaces.Box):
        return _box_fault(space, value)
    inside = space.contains(value)
    return "" if inside else f"the observation is {form_of(value)}, outside its space {space}"


def _box_fault(space: spaces.Box, value: Any) -> str:
    try:
        array = np.asarray(value)
        numbers = array.astype(float)
    except (TypeError, ValueError):
        return f"the observation is {form_of(value)}, no numbers"
    if array.shape != space.shape:
        return f"the observation has the shape {array.shape}, its space {space.shape}"
    if np.isnan(numbers).any():
        return f"the observation has NaN at {int(np.isnan(numbers).sum())} of {numbers.size} places"
    # What was rounded to the space's own precision may miss a bound by as much.
    slack = 1e-6 * np.maximum(1.0, np.where(np.isfinite(numbers), np.abs(numbers), 0.0))
    outside = (numbers < space.low - slack) | (numbers > space.high + slack)
    if outside.any():
        worst = numbers[outside].flat[0]
        return f"the observation has {worst:g}, outside its space {str(space)[:120]}"
    return ""
