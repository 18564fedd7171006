"""Callbacks of a run: logs, live views and trackers get events; they cannot change the run."""

from collections.abc import Callable, Sequence

from typing_extensions import override

from harness.budget import Usage
from harness.policies.base import Purpose
from harness.round_data import Rollouts
from harness.types import Episode, Report


class Callback:
    """Every event, ignored; override the methods you need."""

    def phase(self, name: str, total: int) -> None:
        """A phase begins: `total` completions, samples or episodes are expected (0: unknown)."""

    def tokens(self, purpose: Purpose, replies: int, tokens: int) -> None:
        """The policy returned `replies` completions of `tokens` tokens together."""

    def sampling(self, unfinished: Callable[[], int]) -> None:
        """The policy begins to sample: `unfinished` counts the tokens, so far, of completions that
        have not ended. It may be called at any time, from any thread.
        """

    def episode(self, episode: Episode, purpose: Purpose) -> None:
        """An episode ended."""

    def round(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        """An iteration was learned from and saved."""

    def note(self, line: str) -> None:
        """A line that the user should see."""


class Callbacks(Callback):
    """Pass every event to several callbacks, in order."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = list(callbacks)

    def add(self, callback: Callback) -> None:
        """Add one more callback."""
        self._callbacks.append(callback)

    @override
    def phase(self, name: str, total: int) -> None:
        for callback in self._callbacks:
            callback.phase(name, total)

    @override
    def tokens(self, purpose: Purpose, replies: int, tokens: int) -> None:
        for callback in self._callbacks:
            callback.tokens(purpose, replies, tokens)

    @override
    def sampling(self, unfinished: Callable[[], int]) -> None:
        for callback in self._callbacks:
            callback.sampling(unfinished)

    @override
    def episode(self, episode: Episode, purpose: Purpose) -> None:
        for callback in self._callbacks:
            callback.episode(episode, purpose)

    @override
    def round(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        for callback in self._callbacks:
            callback.round(rollouts, report, spent)

    @override
    def note(self, line: str) -> None:
        for callback in self._callbacks:
            callback.note(line)
