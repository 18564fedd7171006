"""A pool of environments, reused from one episode to the next."""

from contextlib import suppress

from harness.env_capabilities import concurrency_of, most_open_of, size_of
from harness.text_env import MakeEnv, TextEnvProtocol
from harness.types import Split


def close_env(env: TextEnvProtocol) -> None:
    """Close an environment; one that fails to is left, as nothing is asked of it any more."""
    with suppress(Exception):
        env.close()


class EnvPool:
    """Environments by split, made on demand and reused: making one can be expensive."""

    def __init__(self, make: MakeEnv) -> None:
        self._make = make
        self._idle: dict[Split, list[TextEnvProtocol]] = {}

    def concurrency(self, split: Split) -> int:
        """The number of environments that step at once, in threads; 1 unless they are slow."""
        return concurrency_of(self._sample(split))

    def max_open(self, split: Split, limit: int) -> int:
        """The number of conversations that may be open at once, at most `limit`."""
        return min(limit, most_open_of(self._sample(split), limit))

    def size(self, split: Split) -> int | None:
        """The number of tasks in the split; None where the environment does not say."""
        return size_of(self._sample(split), split)

    def _sample(self, split: Split) -> TextEnvProtocol:
        """Any environment of the split, to read its attributes; it stays in the pool."""
        env = self.acquire(split)
        self.release(split, env)
        return env

    def acquire(self, split: Split) -> TextEnvProtocol:
        """An environment that is not in use."""
        idle = self._idle.setdefault(split, [])
        return idle.pop() if idle else self._make(split)

    def release(self, split: Split, env: TextEnvProtocol) -> None:
        """Return an environment to the pool."""
        self._idle.setdefault(split, []).append(env)

    def discard(self, env: TextEnvProtocol) -> None:
        """Close an environment that failed, ignoring that it may fail again."""
        # Its failure is already recorded as the end of an episode.
        close_env(env)

    def close(self) -> None:
        """Close every idle environment."""
        for envs in self._idle.values():
            for env in envs:
                close_env(env)
        self._idle.clear()
