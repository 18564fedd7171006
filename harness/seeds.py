"""Named random streams derived from one seed.

A generator is derived from the run's seed and a path of names, never from the order of calls. So
no generator state is stored: the same names give the same numbers in any process, and a resumed run
repeats them. A stream's name is therefore part of every result; renaming one changes the numbers.
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
        # The type is hashed too, so that 1 and "1" differ; \x1f cannot be part of a name by chance.
        text = "\x1f".join([str(self.root), *(f"{type(n).__name__}:{n}" for n in names)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1

    def generator(self, *names: Name) -> np.random.Generator:
        """The NumPy generator of this stream, at its beginning."""
        # Philox is counter-based: generators with different keys are independent.
        return np.random.Generator(np.random.Philox(self.key(*names)))

    def child(self, *names: Name) -> "Seeds":
        """The root of all streams below these names."""
        return Seeds(self.key(*names))
