"""The frozen reference of a trainable policy: it reflects, and anchors a KL penalty."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from harness.policies.base import CompletionStream, Request


class _Learner(Protocol):
    """The properties that a reference shares with its policy."""

    @property
    def name(self) -> str: ...

    @property
    def context(self) -> int | None: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def identity(self) -> Mapping[str, str]: ...


class Reference:
    """A policy that never changes: `generate` samples without the adapter.

    `failures` has the reasons for unanswered requests, by their ids.
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
        """The policy's notes."""
        return self._policy.notes

    @property
    def identity(self) -> Mapping[str, str]:
        """The policy's identity, which describes version 0."""
        return self._policy.identity

    def generate(self, waiting: deque[Request]) -> CompletionStream:
        """Answer what waits."""
        return self._generate(waiting)
