"""Who looks on: logs and live views hear of events; nothing they do can change the run."""

from collections.abc import Sequence

from typing_extensions import override

from harness.budget import Usage
from harness.policies.base import Purpose
from harness.round_data import Rollouts
from harness.types import Episode, Report


class Callback:
    """Hears everything and does nothing; override what is of interest."""

    def phase(self, name: str, total: int) -> None:
        """Something long begins: `total` replies, samples or episodes are expected (0: unknown)."""

    def tokens(self, purpose: Purpose, replies: int, tokens: int) -> None:
        """Replies came back from the policy."""

    def episode(self, episode: Episode, purpose: Purpose) -> None:
        """An episode ended."""

    def round(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        """A round was learnt from and saved."""

    def note(self, line: str) -> None:
        """Something a reader should know."""


class Callbacks(Callback):
    """Passes every event on, in order."""

    def __init__(self, watchers: Sequence[Callback]) -> None:
        self._watchers = list(watchers)

    def add(self, watcher: Callback) -> None:
        """Let one more look on."""
        self._watchers.append(watcher)

    @override
    def phase(self, name: str, total: int) -> None:
        for watcher in self._watchers:
            watcher.phase(name, total)

    @override
    def tokens(self, purpose: Purpose, replies: int, tokens: int) -> None:
        for watcher in self._watchers:
            watcher.tokens(purpose, replies, tokens)

    @override
    def episode(self, episode: Episode, purpose: Purpose) -> None:
        for watcher in self._watchers:
            watcher.episode(episode, purpose)

    @override
    def round(self, rollouts: Rollouts, report: Report, spent: Usage) -> None:
        for watcher in self._watchers:
            watcher.round(rollouts, report, spent)

    @override
    def note(self, line: str) -> None:
        for watcher in self._watchers:
            watcher.note(line)
