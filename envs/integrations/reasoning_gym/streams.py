"""Entries of the reasoning-gym package, assigned to splits and generated as far as needed.

Every split draws from seeds of its own, and keeps what its share of all texts holds: a hash decides
that. Where training's level asks few different questions these are dealt out instead, in the order
of their hash, so that each split gets some; whatever else the test's level asks is then the test's.
Questions come again where there are fewer of them than tasks.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from envs.errors import EnvError
from envs.fingerprint import canonical_text, digest
from envs.integrations.split_shares import assign_splits, belongs_to_split, stream_seed
from envs.text_env import Problem, Split
from envs.workers.json_worker import WorkerFailed
from envs.workers.pool import WorkerPool, shared_pool

GENERATOR_VERSION = "1"
MAKE_SECONDS = 60.0
_CHUNK = 500  # entries a seed
_SAMPLED_FIRST, _ENOUGH_DIFFERENT = (
    24,
    20,
)  # as many different ones among the first entries: no need to deal
_SAMPLED_AT_MOST = 400  # entries looked at where there are few
_ATTEMPTS_FOR_NEW = 100  # entries tried for one that is new, before an old question may come again
_MAX_ATTEMPTS = 1000


@dataclass(frozen=True, slots=True)
class StreamEntry(Problem):
    """A problem, and where the package makes it."""

    seed: int = 0
    index: int = 0


def worker_pool() -> WorkerPool:
    """The processes in which the package runs."""
    return shared_pool(Path(__file__).with_name("worker.py"), count=2)


def ask_package(job: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The package's answer to a job; raises EnvError where it has none."""
    try:
        answer = worker_pool().ask(job, seconds)
    except WorkerFailed as failure:
        raise EnvError(f"reasoning-gym could not make this task: {failure}.") from failure
    if "failed" in answer:
        raise EnvError(f"reasoning-gym could not make this task: {answer['failed']}.")
    return answer


def generate_entries(job: Mapping[str, Any], split: str, first: int = 0) -> Iterator[StreamEntry]:
    """The entries of a split's seeds from number `first` on, but those nobody can answer."""
    for number in range(first, first + _MAX_ATTEMPTS):
        chunk, index = divmod(number, _CHUNK)
        seed = stream_seed("reasoning_gym", GENERATOR_VERSION, job["task"], split, chunk)
        entry_fields = ask_package(
            {**job, "ask": "item", "seed": seed, "index": index}, MAKE_SECONDS
        )
        name = (
            f"reasoning_gym/{job['task']}:{digest(canonical_text(entry_fields['question']))[:16]}"
        )
        id = name if entry_fields["earns"] == 1.0 else ""
        yield StreamEntry(id, entry_fields["question"], entry_fields["answer"], seed, index)


@cache
def assigned_questions(described: str) -> Mapping[str, Split]:
    """To which split each question of training's level belongs, where there are few; else nothing.

    `described` is a job as JSON, of which the first questions of training's seeds are looked at.
    """
    seen: set[str] = set()
    for number, entry in enumerate(generate_entries(json.loads(described), "train")):
        if number == _SAMPLED_FIRST and len(seen) >= _ENOUGH_DIFFERENT:
            return {}
        if number == _SAMPLED_AT_MOST:
            break
        if entry.id:
            seen.add(canonical_text(entry.text))
    return assign_splits(seen)


@dataclass(slots=True)
class Stream:
    """The entries of one split; all environments of a process share them.

    `level` is that of training, whose questions are dealt out first.
    """

    job: Mapping[str, Any]
    split: Split
    level: int
    entries: list[StreamEntry] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)
    tried: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def entry(self, number: int) -> StreamEntry:
        """Entry `number`, after all before it."""
        with self.lock:
            while len(self.entries) <= number:
                self.entries.append(self._next())
            return self.entries[number]

    def _next(self) -> StreamEntry:
        for tries, entry in enumerate(generate_entries(self.job, self.split, self.tried)):
            self.tried += 1
            text = canonical_text(entry.text)
            new = text not in self.texts or tries >= _ATTEMPTS_FOR_NEW
            if entry.id and new and self._belongs_to_split(text):
                self.texts.add(text)
                return entry
        raise EnvError(
            f"reasoning_gym/{self.job['task']} has too few questions at level {self.job['level']}"
            f" for a {self.split} split of its own; choose another level."
        )

    def _belongs_to_split(self, text: str) -> bool:
        trained = json.dumps({**self.job, "level": self.level}, sort_keys=True)
        assigned = assigned_questions(trained)
        return (
            assigned.get(text, "test") == self.split
            if assigned
            else belongs_to_split(text, self.split)
        )


_streams: dict[str, Stream] = {}
_streams_lock = threading.Lock()


def stream(job: Mapping[str, Any], split: Split, level: int) -> Stream:
    """The process's stream of a split."""
    key = json.dumps([job, split, level], sort_keys=True)
    with _streams_lock:
        return _streams.setdefault(key, Stream(job, split, level))
