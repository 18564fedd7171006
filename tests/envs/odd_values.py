"""Odd environments of other people: rewards, observations, and what they do to the process."""

# What breaks the types is what these environments are for.
# mypy: disable-error-code="override"

import os
import random
import sys
import time

import numpy as np
from gymnasium import spaces

from tests.envs.odd_envs import ENVS, Plain, odd, reset_as

__all__ = ["ENVS"]


# Rewards.
@odd
class RewardInfinite(Plain):
    def step(self, action):
        return self.seen, float("inf"), True, False, {}


@odd
class RewardNaN(Plain):
    def step(self, action):
        return self.seen, float("nan"), True, False, {}


@odd
class RewardNone(Plain):
    def step(self, action):
        return self.seen, None, True, False, {}


@odd
class RewardArray(Plain):
    def step(self, action):
        return self.seen, np.array([1.0, 2.0]), True, False, {}


@odd
class RewardOneArray(Plain):
    def step(self, action):
        return self.seen, np.array([float(action == self.seen)]), True, False, {}


@odd
class RewardHuge(Plain):
    def step(self, action):
        return self.seen, 1e300, True, False, {}


@odd
class RewardBig(Plain):
    def step(self, action):
        return self.seen, 10**400, True, False, {}


@odd
class RewardText(Plain):
    def step(self, action):
        return self.seen, "1.0", True, False, {}


# Observations.
@odd
class OutsideDiscrete(Plain):
    reset = reset_as(lambda self: (7, {}))


@odd
class OutsideBox(Plain):
    observation_space = spaces.Box(0, 1, (2,))
    reset = reset_as(lambda self: (np.array([5.0, 0.0], np.float32), {}))

    def step(self, action):
        return np.array([5.0, 0.0], np.float32), 1.0, True, False, {}


@odd
class WrongShape(Plain):
    observation_space = spaces.Box(0, 1, (2,))
    reset = reset_as(lambda self: (np.zeros((3, 3), np.float32), {}))

    def step(self, action):
        return np.zeros((3, 3), np.float32), 1.0, True, False, {}


@odd
class ScalarForBox(Plain):
    observation_space = spaces.Box(0, 1, (2,))
    reset = reset_as(lambda self: (0.5, {}))

    def step(self, action):
        return 0.5, 1.0, True, False, {}


@odd
class ObservationNaN(Plain):
    observation_space = spaces.Box(0, 1, (2,))
    reset = reset_as(lambda self: (np.array([np.nan, 0.0], np.float32), {}))

    def step(self, action):
        return np.array([np.nan, 0.0], np.float32), 1.0, True, False, {}


@odd
class StepOutside(Plain):
    def step(self, action):
        return 9, 1.0, True, False, {}


@odd
class MissingKey(Plain):
    observation_space = spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Discrete(2)})
    reset = reset_as(lambda self: ({"a": 1}, {}))


@odd
class ShortTuple(Plain):
    observation_space = spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2)))
    reset = reset_as(lambda self: ((1,), {}))


@odd
class SequenceSeen(Plain):
    observation_space = spaces.Sequence(spaces.Discrete(5))
    reset = reset_as(lambda self: ((1, 2, 3), {}))

    def step(self, action):
        return (1, 2), 1.0, True, False, {}


@odd
class TextSeen(Plain):
    """A Text space with Gymnasium's own charset, which has no blank."""

    observation_space = spaces.Text(40)
    action_space = spaces.Text(40)
    reset = reset_as(lambda self: ("Name the capital of France, please.", {}))

    def step(self, action):
        return "It is over.", float(action == "Paris, of course"), True, False, {}


@odd
class TextOnlyDigits(TextSeen):
    action_space = spaces.Text(min_length=2, max_length=5, charset="0123456789")

    def step(self, action):
        return "It is over.", float(action == "42"), True, False, {}


@odd
class TextTooLong(TextSeen):
    reset = reset_as(lambda self: ("word " * 400, {}))


@odd
class BytesSeen(TextSeen):
    reset = reset_as(lambda self: (b"caf\xc3\xa9", {}))


# State.
@odd
class GlobalRandom(Plain):
    def reset(self, *, seed=None, options=None):
        self.seen = random.randrange(3)
        return self.seen, {}


@odd
class GlobalNumpyRandom(Plain):
    def reset(self, *, seed=None, options=None):
        self.seen = int(np.random.randint(3))  # noqa: NPY002
        return self.seen, {}


@odd
class SeedsTheWorld(Plain):
    """Seeds the generators that everyone shares."""

    def reset(self, *, seed=None, options=None):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        return super().reset(seed=seed)


@odd
class Prints(Plain):
    def step(self, action):
        print("x" * 1000)
        os.write(1, b"straight to the file\n")
        return super().step(action)


@odd
class ReadsInput(Plain):
    def step(self, action):
        return self.seen, float(input("your move? ") == "1"), True, False, {}


@odd
class ChangesFolder(Plain):
    def reset(self, *, seed=None, options=None):
        os.chdir("/")
        return super().reset(seed=seed)


@odd
class Slow(Plain):
    def step(self, action):
        time.sleep(0.4)
        return super().step(action)


@odd
class CloseRaises(Plain):
    def close(self):
        raise RuntimeError("already closed")


@odd
class CloseExits(Plain):
    def close(self):
        sys.exit(0)


@odd
class RaisesOnLetters(TextOnlyDigits):
    """Raises at texts outside its charset, as many do."""

    def step(self, action):
        return "It is over.", float(int(action) == 42), True, False, {}


@odd
class WholeNumbers(Plain):
    observation_space = spaces.Box(0, 1_000_000, (2,), np.int64)
    reset = reset_as(lambda self: (np.array([123456, 7]), {}))

    def step(self, action):
        return np.array([123456, 7]), 1.0, True, False, {}
