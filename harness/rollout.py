"""Batched episodes: worlds speak, the policy replies, until every world is done.

Not `gymnasium.vector`: a finished conversation leaves the batch and waiting ones enter, and nothing
is reset behind anyone's back. A bad rollout is data, not a crash: whatever world or grader raises
ends that episode as failed, with its reason.
"""

import math
import traceback
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.env_capabilities import abandon, concurrency_of, most_open_of, size_of
from harness.errors import ModelError, UsageError
from harness.policies.base import Policy, Purpose, Request, Sampling
from harness.policies.capabilities import failures_of
from harness.seeds import Seeds
from harness.system.secrets import scrubbed
from harness.text_env import EnvFailed, MakeWorld, TextEnvProtocol
from harness.types import (
    Assignment,
    Completion,
    Ending,
    Episode,
    Finish,
    Message,
    Split,
    SystemPrompt,
    Task,
    Turn,
)

Placement = Literal["system", "user"]


class EnvPool:
    """Worlds by split, made when needed and used again: a world is not cheap to make."""

    def __init__(self, make: MakeWorld) -> None:
        self._make = make
        self._idle: dict[Split, list[TextEnvProtocol]] = {}

    def side_by_side(self, split: Split) -> int:
        """How many of its worlds step at once: 1 unless they say that they are slow."""
        world = self.take(split)
        self.give(split, world)
        return concurrency_of(world)

    def most_open(self, split: Split, seats: int) -> int:
        """How many of its conversations may be open: fewer than `seats` where a world says so."""
        world = self.take(split)
        self.give(split, world)
        return min(seats, most_open_of(world, seats))

    def size(self, split: Split) -> int | None:
        """How many tasks the split has; None where its worlds do not say."""
        world = self.take(split)
        self.give(split, world)
        return size_of(world, split)

    def take(self, split: Split) -> TextEnvProtocol:
        """A world nobody else is using."""
        idle = self._idle.setdefault(split, [])
        return idle.pop() if idle else self._make(split)

    def give(self, split: Split, world: TextEnvProtocol) -> None:
        """Back into the pool."""
        self._idle.setdefault(split, []).append(world)

    def drop(self, world: TextEnvProtocol) -> None:
        """Close a world that failed; one that cannot even close has nothing left to give."""
        with suppress(Exception):
            world.close()

    def close(self) -> None:
        """Close every idle world."""
        for worlds in self._idle.values():
            for world in worlds:
                world.close()
        self._idle.clear()


@dataclass(frozen=True, slots=True)
class RolloutConfig:
    """What all episodes of one batch share."""

    policy: Policy
    worlds: EnvPool
    sampling: Sampling
    seeds: Seeds
    placement: Placement = "system"
    purpose: Purpose = "act"


def opening(prompt: str, observation: str, placement: Placement) -> tuple[Message, ...]:
    """The first messages of a conversation; an empty prompt adds nothing."""
    if not prompt:
        return (Message("user", observation),)
    if placement == "user":
        return (Message("user", f"{prompt}\n\n{observation}"),)
    return (Message("system", prompt), Message("user", observation))


@dataclass(slots=True)
class _ActiveEpisode:
    """One conversation under way."""

    prompt: SystemPrompt
    task: Task
    sample: int
    table: RolloutConfig
    world: TextEnvProtocol | None = None
    observation: str = ""
    messages: tuple[Message, ...] = ()
    turns: list[Turn] = field(default_factory=list)
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.prompt.id}/{self.task}/{self.sample}/{len(self.turns)}"

    def request(self) -> Request:
        key = (self.prompt.id, str(self.task), self.sample, len(self.turns))
        seed = self.table.seeds.key(*key)
        return Request(self.id, self.messages, self.table.sampling, seed, self.table.purpose)

    def sit(self) -> Episode | None:
        """Start the task; an episode comes back at once only if the world failed."""
        try:
            self.world = self.table.worlds.take(self.task.split)
            self.observation, self.info = self.world.reset(seed=self.task.seed)
        except Exception as error:
            return self.end(Ending.FAILED, reason(error))
        self.messages = opening(self.prompt.text, self.observation, self.table.placement)
        return None

    def hear(self, completion: Completion) -> Episode | None:
        """Pass a reply to the world; an episode comes back when it is over."""
        assert self.world is not None
        earned = 0.0
        try:
            said, reward, terminated, truncated, self.info = self.world.step(completion.text)
            scored = self.info.get("outcome", "scored") == "scored"
            if scored:
                earned = float(reward)
            problem = "" if scored else str(self.info.get("feedback") or "the world gave no score")
        except Exception as error:
            problem = reason(error)
        if not math.isfinite(earned):
            problem, earned = f"the world's reward was {earned}, which is no number", 0.0
        self.turns.append(Turn(self.observation, completion, earned))
        if problem:
            return self.end(Ending.FAILED, problem)
        if completion.finish is Finish.LENGTH:
            abandon(self.world)
            return self.end(Ending.OVERLONG)
        if terminated or truncated:
            return self.end(Ending.TERMINATED if terminated else Ending.TRUNCATED)
        sampled = completion.tokens.sampled if completion.tokens else None
        reply = Message("assistant", completion.text, sampled)
        self.messages, self.observation = (*self.messages, reply, Message("user", said)), said
        return None

    def end(self, ending: Ending, error: str = "") -> Episode:
        # A world that failed may be broken: it is closed, never given back.
        if self.world is not None and error:
            self.table.worlds.drop(self.world)
        elif self.world is not None:
            self.table.worlds.give(self.task.split, self.world)
        return Episode(
            prompt_id=self.prompt.id,
            task=self.task,
            sample=self.sample,
            policy_version=self.table.policy.version,
            turns=tuple(self.turns),
            ending=ending,
            reward=sum(turn.reward for turn in self.turns),
            success=bool(self.info.get("success", False)) and ending is not Ending.FAILED,
            feedback=str(self.info.get("feedback", "")),
            answer=str(self.info.get("answer", "")),
            error=error,
        )


def reason(error: Exception) -> str:
    """What failed and where, in one line."""
    if isinstance(error, EnvFailed):
        return scrubbed(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    return scrubbed(f"{type(error).__name__}: {error}{where}")


def play(
    assignments: Iterable[Assignment], table: RolloutConfig, seats: int = 1024
) -> Iterator[tuple[int, Episode]]:
    """Play every sample of every assignment, yielding (assignment's position, episode) as they end.

    At most `seats` conversations are open at once; where worlds are slow, as many as step side by
    side. Sampling noise is keyed by prompt, task, sample and turn, and requests are made in an
    order that no clock decides, so that a result never depends on timing.

    Raises:
        UsageError: A task is not in its split.
    """
    queue = deque(_seats(assignments, table))
    if not queue:
        return
    _refuse_beyond([seat.task for _, seat in queue], table.worlds)
    try:
        together = table.worlds.side_by_side(queue[0][1].task.split)
        seats = table.worlds.most_open(queue[0][1].task.split, seats)
    except Exception:
        together = 1  # a world that cannot be made fails each of its episodes, with the reason
    yield from (
        _at_once(queue, table, seats) if together == 1 else _in_turns(queue, table, together)
    )


def _at_once(
    queue: deque[tuple[int, _ActiveEpisode]], table: RolloutConfig, seats: int
) -> Iterator[tuple[int, Episode]]:
    """Worlds that answer in no time: each reply is judged, and the next asked for, as it comes."""
    waiting: deque[Request] = deque()
    seated: dict[str, tuple[int, _ActiveEpisode]] = {}
    while queue:
        yield from _fill(seated, queue, waiting, seats)
        for id, completion in table.policy.generate(waiting):
            position, seat = seated.pop(id)
            episode = seat.hear(completion)
            if episode is None:
                # Conversations under way come first: fewer are open, and what they have read is
                # still at hand.
                waiting.appendleft(seat.request())
                seated[seat.id] = (position, seat)
                continue
            yield position, episode
            yield from _fill(seated, queue, waiting, seats)
        for id, (position, seat) in seated.items():
            yield position, seat.end(Ending.FAILED, _silence(table.policy, id))
        seated.clear()


def _in_turns(
    queue: deque[tuple[int, _ActiveEpisode]], table: RolloutConfig, together: int
) -> Iterator[tuple[int, Episode]]:
    """Slow worlds, in containers say: they step side by side while other replies are sampled.

    All open conversations take a turn, then all take the next; who is quick waits for who is slow,
    so that what is sampled together does not depend on who was.
    """
    seated: list[tuple[int, _ActiveEpisode]] = []
    with ThreadPoolExecutor(together, "world") as aside:
        while queue or seated:
            entering = [queue.popleft() for _ in range(min(len(queue), together - len(seated)))]
            opened = list(aside.map(_ActiveEpisode.sit, [seat for _, seat in entering]))
            ended = list(zip(entering, opened, strict=True))
            yield from ((place, failed) for (place, _), failed in ended if failed)
            seated += [one for one, failed in ended if failed is None]
            steps: dict[str, Future[Episode | None]] = {}
            asked = [seat.id for _, seat in seated]
            by_id = {seat.id: seat for _, seat in seated}
            for id, completion in table.policy.generate(deque(s.request() for _, s in seated)):
                steps[id] = aside.submit(by_id[id].hear, completion)
            staying = []
            for id, (position, seat) in zip(asked, seated, strict=True):
                if id in steps:
                    episode = steps[id].result()
                else:
                    episode = seat.end(Ending.FAILED, _silence(table.policy, id))
                if episode is None:
                    staying.append((position, seat))
                else:
                    yield position, episode
            seated = staying


def _silence(policy: Policy, id: str) -> str:
    """Why a request has no reply."""
    return failures_of(policy).get(id, "the policy never replied")


def _seats(
    assignments: Iterable[Assignment], table: RolloutConfig
) -> Iterator[tuple[int, _ActiveEpisode]]:
    seen: set[str] = set()
    for position, cast in enumerate(assignments):
        for sample in range(cast.first, cast.first + cast.samples):
            seat = _ActiveEpisode(cast.prompt, cast.task, sample, table)
            if seat.id in seen:
                raise ValueError(f"{seat.id} was cast twice; number the second group by `first`")
            seen.add(seat.id)
            yield position, seat


def _refuse_beyond(tasks: Collection[Task], worlds: EnvPool) -> None:
    """Stop where a task is not in its split: `reset` takes any seed, and would start another."""
    for split in {task.split: None for task in tasks}:
        try:
            size = worlds.size(split)
        except Exception:
            continue  # a world that cannot be made fails each of its episodes, with the reason
        for task in tasks:
            if size is not None and task.split == split and not 0 <= task.seed < size:
                raise UsageError(
                    f"Task {task} is not in its split, which has {size} tasks; cast tasks from "
                    f"{split}:0 to {split}:{size - 1}."
                )


def _fill(
    seated: dict[str, tuple[int, _ActiveEpisode]],
    queue: deque[tuple[int, _ActiveEpisode]],
    waiting: deque[Request],
    seats: int,
) -> Iterator[tuple[int, Episode]]:
    """Open conversations while there is room; yields only those whose world failed at once."""
    while queue and len(seated) < seats:
        position, seat = queue.popleft()
        failed = seat.sit()
        if failed is not None:
            yield position, failed
            continue
        waiting.append(seat.request())
        seated[seat.id] = (position, seat)


def refuse_silence(episodes: Collection[Episode], policy: Policy) -> None:
    """Stop where a policy answered nothing at all: that is an outage, not a set of outcomes."""
    failures = failures_of(policy)
    if episodes and failures and not any(episode.turns for episode in episodes):
        reason = next(iter(failures.values()))
        raise ModelError(
            f"{policy.name} answered none of {len(episodes)} requests ({reason}); when it is back, "
            "go on with harness resume."
        )
