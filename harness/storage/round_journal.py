"""The work of an iteration that has no checkpoint yet, so that a killed run samples it only once.

    {"schema": 1, "round": 3, "version": 2}         the iteration, and the policy it began with
    {"rollout": 0, "episodes": […], "seconds": …}   finished episodes, whole with their tokens
    {"completions": […], "seconds": …}              finished completions of the reflection model
    {"rollout": 0, "forget": […]}                   episodes that a resumed run samples again

A line is complete or absent. What was sampled together and depends on it, by rounding, stands in
one line: a chunk of rollouts and a call of the reflection model, where the backend is
deterministic. Elsewhere each episode and each completion has its own line.

The file belongs to one iteration. It is emptied after that iteration's checkpoint; a file that a
crash left full before that is recognised by its first line, and ignored.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias, cast

from harness.errors import RunError
from harness.policies.base import Request
from harness.storage.atomic_files import Log, lines
from harness.storage.episode_record import (
    completion_from,
    completion_record,
    episode_from,
    episode_record,
)
from harness.types import JSON, Completion, Episode

SCHEMA = 1
Slot: TypeAlias = tuple[str, str, int]
"""The place of an episode in one rollout: prompt id, task, sample."""


@dataclass(frozen=True, slots=True)
class StoredEpisode:
    """An episode from the file, and its share of the seconds of sampling."""

    episode: Episode
    seconds: float


@dataclass(frozen=True, slots=True)
class StoredCompletion:
    """A completion from the file, and its share of the seconds of sampling."""

    completion: Completion
    seconds: float


def slot_of(episode: Episode) -> Slot:
    """The place of an episode in its rollout."""
    return episode.prompt_id, str(episode.task), episode.sample


def request_key(model: str, version: int, request: Request) -> str:
    """Hash of everything that decides a completion: equal requests of one model have one key."""
    whole = [model, version, asdict(request)]
    return sha256(json.dumps(whole).encode("utf-8")).hexdigest()


class RoundJournal:
    """The file of one unfinished iteration. Thread-safe, as reflection may run beside training.

    Each stored completion answers one request: a method that repeats a request gets the answers in
    the order in which they were sampled, as without a kill.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.note: Callable[[str], None] = lambda text: None
        self._log: Log | None = None
        self._lock = Lock()
        self._rollouts = 0
        self._episodes: dict[int, dict[Slot, StoredEpisode]] = {}
        self._completions: dict[str, deque[StoredCompletion]] = {}

    def begin(self, round: int, version: int) -> None:
        """Open the file for an iteration; what it holds of another one is dropped."""
        self._rollouts, self._episodes, self._completions = 0, {}, {}
        header = {"schema": SCHEMA, "round": round, "version": version}
        end = self._read(header)
        if self._log is None:
            self._log = Log(self.path)
        # A torn last line would be joined with the next one.
        self._log.cut(end)
        if not end:
            self._log.append(header)

    def discard_unless(self, round: int) -> None:
        """Remove a file that is not of this iteration, as one left by a kill in the evaluation."""
        first = next((line for _, line in lines(self.path)), None)
        if self._log is None and self.path.is_file() and (first or {}).get("round") != round:
            self.path.unlink()

    def next_rollout(self) -> int:
        """The number of the next rollout of this iteration: methods may take several."""
        self._rollouts += 1
        return self._rollouts - 1

    def episodes(self, rollout: int) -> Mapping[Slot, StoredEpisode]:
        """Stored episodes of a rollout, in the order in which they ended."""
        return self._episodes.get(rollout, {})

    def add_episodes(self, rollout: int, episodes: Sequence[Episode], seconds: float) -> None:
        """Store finished episodes in one line, on disk when this returns."""
        records = [episode_record(episode) for episode in episodes]
        self._append({"rollout": rollout, "episodes": records, "seconds": seconds})

    def forget(self, rollout: int, slots: Iterable[Slot]) -> None:
        """Let a resumed run sample these episodes again."""
        again: list[JSON] = [[prompt, task, sample] for prompt, task, sample in slots]
        self._append({"rollout": rollout, "forget": again})

    def take(self, keys: Sequence[str], together: bool) -> dict[str, StoredCompletion]:
        """Stored completions by request key; with `together`, of all requests or of none."""
        with self._lock:
            found = [key for key in dict.fromkeys(keys) if self._completions.get(key)]
            if together and len(found) != len(keys):
                return {}
            return {key: self._completions[key].popleft() for key in found}

    def add_completions(self, completions: Mapping[str, Completion], seconds: float) -> None:
        """Store finished completions by request key, in one line, on disk when this returns."""
        records: list[JSON] = [[key, completion_record(c)] for key, c in completions.items()]
        self._append({"completions": records, "seconds": seconds})

    def finish(self) -> None:
        """Empty the file; called once the iteration's checkpoint is on disk."""
        if self._log is not None:
            self._log.cut(0)

    def close(self) -> None:
        """Close the file, and remove it if it holds nothing."""
        if self._log is None:
            return
        self._log.close()
        self._log = None
        if self.path.exists() and not os.path.getsize(self.path):
            self.path.unlink()

    def _append(self, line: Mapping[str, JSON]) -> None:
        if self._log is None:  # outside of training, as in an analysis of a finished run
            return
        with self._lock:
            try:
                self._log.append(line)
            except RunError as error:  # too long a line: the run needs it only after a kill
                self.note(f"after a kill, a part of this iteration is sampled again: {error}")
            self._log.sync()

    def _read(self, header: Mapping[str, JSON]) -> int:
        """Load what belongs to the iteration; returns the length of the lines that were read."""
        end, first = 0, True
        for length, line in lines(self.path):
            if first and line != header:
                return 0
            try:
                if not first:
                    self._load(cast(Mapping[str, Any], line))
            except (ValueError, KeyError, TypeError, AttributeError):
                break  # a damaged line: what follows it is sampled again
            end, first = length, False
        return end

    def _load(self, line: Mapping[str, Any]) -> None:
        if "completions" in line:
            found = [(key, completion_from(record)) for key, record in line["completions"]]
            for key, completion in found:
                stored = StoredCompletion(completion, line["seconds"] / len(found))
                self._completions.setdefault(key, deque()).append(stored)
            return
        rollout = self._episodes.setdefault(line["rollout"], {})
        for slot in line.get("forget", ()):
            prompt, task, sample = slot
            rollout.pop((prompt, task, sample), None)
        episodes = [episode_from(record) for record in line.get("episodes", ())]
        for episode in episodes:
            rollout[slot_of(episode)] = StoredEpisode(episode, line["seconds"] / len(episodes))
