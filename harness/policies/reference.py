"""The model as it was at the start, beside the one that learns: it reflects, and anchors a KL."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from harness.policies.base import CompletionStream, Request


class _Learner(Protocol):
    """What a reference says of itself as its policy does."""

    @property
    def name(self) -> str: ...

    @property
    def context(self) -> int | None: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def identity(self) -> Mapping[str, str]: ...


class Reference:
    """A policy that never changes: `generate` answers without the adapter.

    `failures` is where it notes why requests went unanswered, by their ids.
    """

    version = 0

    def __init__(
        self,
        policy: _Learner,
        generate: Callable[[deque[Request]], CompletionStream],
        failures: dict[str, str],
    ) -> None:
        self.name = f"{policy.name}@reference"
        self.context = policy.context
        self.failures = failures
        self._policy = policy
        self._generate = generate

    @property
    def notes(self) -> tuple[str, ...]:
        """The policy's."""
        return self._policy.notes

    @property
    def identity(self) -> Mapping[str, str]:
        """The same as the policy's, which is named at version 0."""
        return self._policy.identity

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits."""
        return self._generate(waiting)
