"""An environment under test: made as often as needed, played to the end, compared with itself."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from envs import registry
from envs.fingerprint import canonical_text, digest
from envs.text_env import SPLITS, Split

Status = Literal["passed", "failed", "not asked"]
ReplyFunction = Callable[[Any], str]
"""A function from an environment to the next reply."""

PLAYED_TASKS = 5
"""Tasks of each split that are played."""
MAX_TURNS = 1000
_COMPARED_OPENINGS = 200  # openings of each split that are compared
_OPENING_SECONDS = 4.0  # for one split's openings, after the first few


class OutOfTime(Exception):
    """The time of a check is up in the middle of an episode."""


class CheckTime:
    """The time that one check has; one that is late says what it left out."""

    def __init__(self, seconds: float = math.inf) -> None:
        self.seconds, self._end = seconds, time.monotonic() + seconds
        self.left_out: list[str] = []

    def passed(self) -> bool:
        """True when the time is up."""
        return time.monotonic() > self._end

    def tasks(self, split: str, count: int) -> Iterator[int]:
        """The numbers 0 … count - 1, as long as there is time; the first one always."""
        for number in range(count):
            if number and self.passed():
                self.left_out.append(f"{count - number} of {count} tasks of {split}")
                return
            yield number


@dataclass(frozen=True, slots=True)
class ProbeEpisode:
    """One episode: what was seen, what it earned, and what was said at the end."""

    seen: tuple[str, ...]
    reward: float
    info: Mapping[str, Any]
    over: bool = True

    @property
    def compared_values(self) -> tuple[object, ...]:
        """All that two plays of one task with the same replies must agree in."""
        info = {k: self.info.get(k) for k in ("task", "outcome", "success", "feedback", "answer")}
        return (self.seen, self.reward, json.dumps(info, default=str, sort_keys=True))


@dataclass(frozen=True, slots=True)
class FirstObservation:
    """A task's id and first text; its reference answer where it is known, else None."""

    task: str
    text: str
    answer: str | None


@dataclass
class EnvProbe:
    """An environment by name, made as often as a check needs."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    deadline: CheckTime = field(default_factory=CheckTime)
    made: list[Any] = field(default_factory=list)

    def make(self, split: Split = "train") -> Any:
        """A new one."""
        self.made.append(registry.make(self.name, split, **self.options))
        return self.made[-1]

    def close(self) -> None:
        """Close all that were made, however far their episodes are: some hold a session."""
        while self.made:
            with suppress(Exception):  # what an environment raises here is no check's business
                self.made.pop().close()

    def tasks(self, split: Split, most: int) -> Iterator[int]:
        """The split's first tasks, at most `most`, as long as the check has time."""
        env = self.make(split)
        size = env.size(split)
        env.close()
        yield from self.deadline.tasks(split, min(most, size))

    def play(self, env: Any, seed: int, reply: ReplyFunction) -> ProbeEpisode:
        """Play task `seed` to its end, or for a thousand replies; raises OutOfTime."""
        return self.finish(env, env.reset(seed=seed)[0], reply)

    def finish(self, env: Any, text: str, reply: ReplyFunction) -> ProbeEpisode:
        """An episode that was begun already, to its end; raises OutOfTime."""
        seen, total, over = [text], 0.0, False
        info: Mapping[str, Any] = {}
        for turn in range(MAX_TURNS):
            if turn and self.deadline.passed():
                raise OutOfTime(f"an episode had not ended after {turn} replies")
            text, reward, terminated, truncated, info = env.step(reply(env))
            seen.append(text)
            total += float(reward)
            over = bool(terminated or truncated)
            if over:
                break
        return ProbeEpisode(tuple(seen), total, info, over)

    def first_observations(self, split: Split) -> list[FirstObservation]:
        """A split's first tasks, as many as there is time for."""
        env = self.make(split)
        known = hasattr(env, "problem")
        end, found = time.monotonic() + _OPENING_SECONDS, list[FirstObservation]()
        for seed in range(min(_COMPARED_OPENINGS, env.size(split))):
            text, info = env.reset(seed=seed)
            answer = str(env.problem(split, seed).answer) if known else None
            found.append(FirstObservation(str(info.get("task", "")), canonical_text(text), answer))
            if (len(found) >= PLAYED_TASKS and time.monotonic() > end) or self.deadline.passed():
                break
        env.close()
        return found


def constant_reply(text: str) -> ReplyFunction:
    """Always the same reply."""
    return lambda env: text


def env_identity(subject: EnvProbe) -> list[str]:
    """The environment's fingerprint and a hash of its first openings, for comparing processes."""
    found = [str(subject.make().fingerprint())]
    for split in SPLITS:
        env = subject.make(split)
        numbers = range(min(PLAYED_TASKS, env.size(split)))
        tasks = [env.reset(seed=seed) for seed in numbers]
        found.append(digest([[text, str(info.get("task"))] for text, info in tasks]))
        env.close()
    return found
