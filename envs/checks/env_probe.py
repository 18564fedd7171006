"""A world under examination: made as often as wanted, played to the end, compared with itself."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from envs.fingerprint import canonical_text, digest
from envs.registry import make
from envs.text_env import SPLITS, Split

Replies = Callable[[Any], str]
"""What is replied next in a world."""

PLAYED = 5
"""Tasks of each split that are played."""
MOST_TURNS = 1000
_LOOKED_AT = 200  # openings of each split that are compared
_OPENING_SECONDS = 4.0  # for one split's openings, after the first few


@dataclass(frozen=True, slots=True)
class ProbeEpisode:
    """One episode: what was seen, what it earned, and what was said at the end."""

    seen: tuple[str, ...]
    reward: float
    info: Mapping[str, Any]
    over: bool = True

    @property
    def told(self) -> tuple[object, ...]:
        """All that two plays of one task with the same replies must agree in."""
        info = {k: self.info.get(k) for k in ("task", "outcome", "success", "feedback", "answer")}
        return (self.seen, self.reward, json.dumps(info, default=str, sort_keys=True))


@dataclass(frozen=True, slots=True)
class Opening:
    """A task's id and first text; its reference answer where the world tells it, else None."""

    task: str
    text: str
    answer: str | None


@dataclass
class EnvProbe:
    """A world by name, made as often as a check needs it."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def made(self, split: Split = "train") -> Any:
        """A new one."""
        return make(self.name, split, **self.options)

    def openings(self, split: Split) -> list[Opening]:
        """A split's first tasks, as many as there is time for."""
        world = self.made(split)
        known = hasattr(world, "problem")
        end, found = time.monotonic() + _OPENING_SECONDS, list[Opening]()
        for seed in range(min(_LOOKED_AT, world.size(split))):
            text, info = world.reset(seed=seed)
            answer = str(world.problem(split, seed).answer) if known else None
            found.append(Opening(str(info.get("task", "")), canonical_text(text), answer))
            if len(found) >= PLAYED and time.monotonic() > end:
                break
        world.close()
        return found


def play(world: Any, seed: int, reply: Replies) -> ProbeEpisode:
    """Play task `seed` to its end, or for a thousand replies."""
    return rest(world, world.reset(seed=seed)[0], reply)


def rest(world: Any, text: str, reply: Replies) -> ProbeEpisode:
    """An episode that was begun already, to its end."""
    seen, total, over = [text], 0.0, False
    info: Mapping[str, Any] = {}
    for _ in range(MOST_TURNS):
        text, reward, terminated, truncated, info = world.step(reply(world))
        seen.append(text)
        total += float(reward)
        over = bool(terminated or truncated)
        if over:
            break
    return ProbeEpisode(tuple(seen), total, info, over)


def saying(text: str) -> Replies:
    """Always the same reply."""
    return lambda world: text


def identity(subject: EnvProbe) -> list[str]:
    """The world's fingerprint and a hash of its first openings, for comparing processes."""
    found = [str(subject.made().fingerprint())]
    for split in SPLITS:
        world = subject.made(split)
        tasks = [world.reset(seed=seed) for seed in range(min(PLAYED, world.size(split)))]
        found.append(digest([[text, str(info.get("task"))] for text, info in tasks]))
        world.close()
    return found
