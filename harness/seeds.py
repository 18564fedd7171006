"""One seed, many named streams: randomness is a function of what it is for, never of order.

A generator is derived from the run's seed and a path of names, so nothing has to be stored to
resume: the same names give the same numbers in any process.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

Name = str | int


@dataclass(frozen=True, slots=True)
class Seeds:
    """The root of all randomness of one run."""

    root: int

    def key(self, *names: Name) -> int:
        """A 63-bit integer that depends on the root and on every name, in order."""
        text = "\x1f".join([str(self.root), *(f"{type(n).__name__}:{n}" for n in names)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1

    def generator(self, *names: Name) -> np.random.Generator:
        """A NumPy generator of its own for this purpose."""
        return np.random.Generator(np.random.Philox(self.key(*names)))

    def child(self, *names: Name) -> "Seeds":
        """A root for everything below these names."""
        return Seeds(self.key(*names))
