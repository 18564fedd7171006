"""Odd environments of other people: how they are made, reset and stepped. Imported by name.

The Gymnasium id of each is `Odd/NAME-v0`; `ENVS` has them all. "Action: 1" is an action of every
one of them.
"""

# What breaks the types is what these environments are for.
# mypy: disable-error-code="override"

import asyncio
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

ENVS: dict[str, type] = {}


def odd(cls: type) -> type:
    """Register a class under its own name."""
    ENVS[cls.__name__] = cls
    gymnasium.register(f"Odd/{cls.__name__}-v0", entry_point=f"{cls.__module__}:{cls.__name__}")
    return cls


class Plain(gymnasium.Env):
    """Three numbers; the action that equals the observation ends it with 1."""

    metadata: Any = {"render_modes": []}  # noqa: RUF012  # as gymnasium declares it
    observation_space: Any = spaces.Discrete(3)
    action_space: Any = spaces.Discrete(3)

    def __init__(self, render_mode: str | None = None) -> None:
        self.seen = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.seen = int(self.np_random.integers(3))
        return self.seen, {}

    def step(self, action: Any) -> Any:
        return self.seen, float(action == self.seen), True, False, {}


def reset_as(result: Callable[[Plain], Any]) -> Callable[..., Any]:
    """A `reset` that seeds as usual and returns something else."""

    def reset(self: Plain, *, seed: int | None = None, options: Any = None) -> Any:
        gymnasium.Env.reset(self, seed=seed)
        return result(self)

    return reset


@odd
class Good(Plain):
    pass


# Resets.
@odd
class ResetRaises(Plain):
    def reset(self, *, seed=None, options=None):
        raise RuntimeError("no board today")


@odd
class ResetOld(Plain):
    reset = reset_as(lambda self: 1)


@odd
class ResetTakesNoSeed(Plain):
    def reset(self):
        return 1, {}


@odd
class ResetOldest(Plain):
    def reset(self):
        return 1


@odd
class ResetNone(Plain):
    reset = reset_as(lambda self: None)


@odd
class ResetCoroutine(Plain):
    async def reset(self, *, seed=None, options=None):
        return 1, {}


@odd
class ResetThree(Plain):
    reset = reset_as(lambda self: (1, {}, False))


@odd
class ResetInfoNone(Plain):
    reset = reset_as(lambda self: (1, None))


@odd
class ResetGenerator(Plain):
    def reset(self, *, seed=None, options=None):
        yield 1
        yield {}


@odd
class ResetExits(Plain):
    def reset(self, *, seed=None, options=None):
        sys.exit(0)


@odd
class ResetHangs(Plain):
    def reset(self, *, seed=None, options=None):
        while True:
            time.sleep(0.05)


@odd
class ObservationNone(Plain):
    reset = reset_as(lambda self: (None, {}))


# Making.
@odd
class MakeRaises(Plain):
    def __init__(self, render_mode=None):
        raise RuntimeError("no licence")


@odd
class MakeExits(Plain):
    def __init__(self, render_mode=None):
        sys.exit(0)


@odd
class NoSpaces(gymnasium.Env):
    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        return 0, 0.0, True, False, {}


@odd
class NotAnEnv:
    """A class with reset and step that derives from nothing."""

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        return 0, 0.0, True, False, {}


@odd
class TakesNoRenderMode(Plain):
    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012

    def __init__(self):
        self.seen = 0


# Steps.
@odd
class StepOld(Plain):
    def step(self, action):
        return self.seen, float(action == self.seen), True, {}


@odd
class StepNone(Plain):
    def step(self, action):
        return None


@odd
class StepCoroutine(Plain):
    async def step(self, action):
        return self.seen, 1.0, True, False, {}


@odd
class StepRaises(Plain):
    def step(self, action):
        raise ValueError("a bug of mine")


@odd
class StepExits(Plain):
    def step(self, action):
        sys.exit(0)


@odd
class StepExitsHard(Plain):
    def step(self, action):
        os._exit(0)


@odd
class StepHangs(Plain):
    def step(self, action):
        while True:
            pass


@odd
class StepHangsAndCatches(Plain):
    def step(self, action):
        while True:
            try:
                time.sleep(60)
            except Exception:
                continue


@odd
class NeverEnds(Plain):
    def step(self, action):
        return self.seen, 0.0, False, False, {}


@odd
class StepInfoNone(Plain):
    def step(self, action):
        return self.seen, float(action == self.seen), True, False, None


@odd
class DoneArray(Plain):
    def step(self, action):
        return self.seen, float(action == self.seen), np.array([True, False]), False, {}


@odd
class Metadata(Plain):
    metadata = None


@odd
class Interrupted(Plain):
    def step(self, action):
        raise asyncio.CancelledError("from a task of mine")


@odd
class SaysWrong(Plain):
    def step(self, action):
        return self.seen, 1.0, "False", "False", {}
