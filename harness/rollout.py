"""Batched rollouts: the environment observes, the policy completes, until every episode has ended.

Not `gymnasium.vector`, which steps all environments in lockstep and resets them automatically: here
a finished conversation leaves the batch and a waiting one enters. (Slow environments step together,
one turn at a time, so that they can be stepped in threads.) A failed episode is data, not a
crash: any exception of environment or grader ends that episode as failed, with its reason.
"""

import math
import traceback
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from harness.env_capabilities import abandon, reads_thoughts
from harness.env_pool import EnvPool
from harness.errors import ModelError, UsageError
from harness.policies.base import Policy, Purpose, Request, Sampling
from harness.policies.capabilities import TIMED_OUT, failures_of
from harness.seeds import Seeds
from harness.storage.round_journal import Slot
from harness.system.secrets import redact
from harness.text_env import EnvFailed, TextEnvProtocol
from harness.types import (
    Assignment,
    Completion,
    Ending,
    Episode,
    Finish,
    Message,
    SystemPrompt,
    Task,
    Turn,
)

PromptRole = Literal["system", "user"]
Slots: TypeAlias = Mapping[Slot, tuple[int, Assignment]]
"""For each episode to sample: the position of its assignment, and an assignment for it alone."""
MAX_OPEN = 1024
"""Conversations open at once; the policy divides them into batches of its own size."""


@dataclass(frozen=True, slots=True)
class RolloutConfig:
    """Settings that all episodes of one batch share."""

    policy: Policy
    envs: EnvPool
    sampling: Sampling
    seeds: Seeds
    prompt_role: PromptRole = "system"
    purpose: Purpose = "act"


def first_messages(prompt: str, observation: str, role: PromptRole) -> tuple[Message, ...]:
    """The messages before the first completion; an empty prompt adds none."""
    if not prompt:
        return (Message("user", observation),)
    if role == "user":
        return (Message("user", f"{prompt}\n\n{observation}"),)
    return (Message("system", prompt), Message("user", observation))


@dataclass(slots=True)
class _ActiveEpisode:
    """An episode in progress."""

    prompt: SystemPrompt
    task: Task
    sample: int
    config: RolloutConfig
    env: TextEnvProtocol | None = None
    observation: str = ""
    messages: tuple[Message, ...] = ()
    turns: list[Turn] = field(default_factory=list)
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.prompt.id}/{self.task}/{self.sample}/{len(self.turns)}"

    def request(self) -> Request:
        """The request for the next completion.

        Its seed depends on prompt, task, sample and turn alone, so that a completion does not
        depend on which others share its batch, nor on timing.
        """
        key = (self.prompt.id, str(self.task), self.sample, len(self.turns))
        seed = self.config.seeds.key(*key)
        return Request(self.id, self.messages, self.config.sampling, seed, self.config.purpose)

    def reset(self) -> Episode | None:
        """Start the task; returns a failed episode if the environment cannot."""
        try:
            self.env = self.config.envs.acquire(self.task.split)
            self.observation, self.info = self.env.reset(seed=self.task.seed)
        except Exception as error:
            return self.end(Ending.FAILED, reason(error))
        role = self.config.prompt_role
        self.messages = first_messages(self.prompt.text, self.observation, role)
        return None

    def step(self, completion: Completion) -> Episode | None:
        """Pass a completion to the environment; returns the episode if that ended it."""
        assert self.env is not None
        earned, problem = 0.0, ""
        try:
            said = completion.answer  # a thought is never read as an answer
            if reads_thoughts(self.env) and completion.thought_finished:
                said = completion.text
            observation, reward, terminated, truncated, self.info = self.env.step(said)
            # Read before the reward: what could not be graded has no score, not even 0.
            scored = self.info.get("outcome", "scored") == "scored"
            if scored:
                earned = float(reward)
            problem = (
                "" if scored else str(self.info.get("feedback") or "the environment gave no score")
            )
        except Exception as error:
            problem = reason(error)
        if not math.isfinite(earned):
            problem, earned = f"the environment's reward was {earned}, which is no number", 0.0
        self.turns.append(Turn(self.observation, completion, earned))
        if problem:
            return self.end(Ending.FAILED, problem)
        if completion.finish is Finish.LENGTH:
            # A cut-off completion would be followed by turns that answer half a sentence.
            abandon(self.env)  # it may hold a session or a process
            return self.end(Ending.OVERLONG)
        if terminated or truncated:
            return self.end(Ending.TERMINATED if terminated else Ending.TRUNCATED)
        sampled = completion.tokens.sampled if completion.tokens else None
        answer = Message("assistant", completion.text, sampled)
        self.messages = (*self.messages, answer, Message("user", observation))
        self.observation = observation
        return None

    def end(self, ending: Ending, error: str = "") -> Episode:
        # An environment that failed may be broken: it is closed, never reused.
        if self.env is not None and error:
            self.config.envs.discard(self.env)
        elif self.env is not None:
            self.config.envs.release(self.task.split, self.env)
        return Episode(
            prompt_id=self.prompt.id,
            task=self.task,
            sample=self.sample,
            policy_version=self.config.policy.version,
            turns=tuple(self.turns),
            ending=ending,
            reward=sum(turn.reward for turn in self.turns),
            success=bool(self.info.get("success", False)) and ending is not Ending.FAILED,
            feedback=str(self.info.get("feedback", "")),
            answer=str(self.info.get("answer", "")),
            error=error,
        )


def reason(error: Exception) -> str:
    """An exception and where it was raised, in one line without secrets."""
    if isinstance(error, EnvFailed):
        return redact(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
    return redact(f"{type(error).__name__}: {error}{where}")


def rollout(
    assignments: Iterable[Assignment], config: RolloutConfig, max_open: int = MAX_OPEN
) -> Iterator[tuple[int, Episode]]:
    """Sample every assignment; yields (position of the assignment, episode) as episodes end.

    At most `max_open` conversations are open at once. Requests are made in an order that no clock
    decides, so that a result never depends on timing.

    Raises:
        UsageError: A task is not in its split.
    """
    queue = deque(_episodes(assignments, config))
    if not queue:
        return
    _require_in_split([episode.task for _, episode in queue], config.envs)
    split = queue[0][1].task.split
    try:
        concurrency = config.envs.concurrency(split)
        max_open = config.envs.max_open(split, max_open)
    except Exception:
        concurrency = 1  # an environment that cannot be made fails each episode, with the reason
    if concurrency == 1:
        yield from _continuous(queue, config, max_open)
    else:
        yield from _lockstep(queue, config, concurrency)


Queue = deque[tuple[int, _ActiveEpisode]]
Active = dict[str, tuple[int, _ActiveEpisode]]


def _continuous(
    queue: Queue, config: RolloutConfig, max_open: int
) -> Iterator[tuple[int, Episode]]:
    """Continuous batching, for fast environments: each completion is graded as it arrives."""
    waiting: deque[Request] = deque()
    active: Active = {}
    while queue:
        yield from _admit(active, queue, waiting, max_open)
        for id, completion in config.policy.generate(waiting):
            position, current = active.pop(id)
            episode = current.step(completion)
            if episode is None:
                # Conversations in progress come first: fewer are open at once, and the KV cache
                # still holds their earlier turns.
                waiting.appendleft(current.request())
                active[current.id] = (position, current)
                continue
            yield position, episode
            yield from _admit(active, queue, waiting, max_open)
        # `generate` has returned, so what is still open gets no reply any more.
        for id, (position, current) in active.items():
            yield position, current.end(Ending.FAILED, _failure(config.policy, id))
        active.clear()


def _lockstep(
    queue: Queue, config: RolloutConfig, concurrency: int
) -> Iterator[tuple[int, Episode]]:
    """One turn of all open conversations at a time, for slow environments (containers, say).

    They step in threads while other completions are sampled. A fast one waits for the slow ones,
    so that the batches do not depend on which was fast.
    """
    active: list[tuple[int, _ActiveEpisode]] = []
    with ThreadPoolExecutor(concurrency, "env") as executor:
        while queue or active:
            entering = [queue.popleft() for _ in range(min(len(queue), concurrency - len(active)))]
            opened = list(executor.map(_ActiveEpisode.reset, [one for _, one in entering]))
            started = list(zip(entering, opened, strict=True))
            yield from ((position, failed) for (position, _), failed in started if failed)
            active += [one for one, failed in started if failed is None]
            steps: dict[str, Future[Episode | None]] = {}
            requested = [one.id for _, one in active]
            by_id = {one.id: one for _, one in active}
            for id, completion in config.policy.generate(deque(o.request() for _, o in active)):
                steps[id] = executor.submit(by_id[id].step, completion)
            remaining = []
            # In the order of requests, so that the next batch does not depend on timing.
            for id, (position, current) in zip(requested, active, strict=True):
                if id in steps:
                    episode = steps[id].result()
                else:
                    episode = current.end(Ending.FAILED, _failure(config.policy, id))
                if episode is None:
                    remaining.append((position, current))
                else:
                    yield position, episode
            active = remaining


def _failure(policy: Policy, id: str) -> str:
    """The reason why a request has no completion."""
    return failures_of(policy).get(id, "the policy never replied")


def slots(assignments: Iterable[Assignment]) -> Slots:
    """The single episodes of these assignments, in order.

    Raises:
        ValueError: One of them was assigned twice.
    """
    found: dict[Slot, tuple[int, Assignment]] = {}
    for position, a in enumerate(assignments):
        for sample in range(a.first, a.first + a.samples):
            slot = (a.prompt.id, str(a.task), sample)
            # Two samples with one id would have one seed, and so be the same episode.
            if slot in found:
                raise ValueError(
                    f"{'/'.join(map(str, slot))} was assigned twice; number the second group by "
                    "`first`"
                )
            found[slot] = (position, Assignment(a.prompt, a.task, 1, sample))
    return found


def _episodes(
    assignments: Iterable[Assignment], config: RolloutConfig
) -> Iterator[tuple[int, _ActiveEpisode]]:
    for (_, _, sample), (position, assignment) in slots(assignments).items():
        yield position, _ActiveEpisode(assignment.prompt, assignment.task, sample, config)


def _require_in_split(tasks: Collection[Task], envs: EnvPool) -> None:
    """Refuse a task that is not in its split: `reset` takes any seed, and would start another."""
    for split in {task.split: None for task in tasks}:
        try:
            size = envs.size(split)
        except Exception:
            continue  # an environment that cannot be made fails each episode, with the reason
        for task in tasks:
            if size is not None and task.split == split and not 0 <= task.seed < size:
                raise UsageError(
                    f"Task {task} is not in its split, which has {size} tasks; assign tasks from "
                    f"{split}:0 to {split}:{size - 1}."
                )


def _admit(
    active: Active, queue: Queue, waiting: deque[Request], max_open: int
) -> Iterator[tuple[int, Episode]]:
    """Open conversations up to the limit; yields only those whose environment failed at once."""
    while queue and len(active) < max_open:
        position, current = queue.popleft()
        failed = current.reset()
        if failed is not None:
            yield position, failed
            continue
        waiting.append(current.request())
        active[current.id] = (position, current)


def raise_if_unanswered(episodes: Collection[Episode], policy: Policy) -> None:
    """Stop where requests were left unanswered by an outage, or all for lack of time.

    Neither is a set of outcomes: unscored, they would censor what takes long.

    Raises:
        ModelError: The policy answered no request at all, or all failures are time-outs.
    """
    failures = failures_of(policy)
    if episodes and failures and not any(episode.turns for episode in episodes):
        reason = next(iter(failures.values()))
        if not reason.startswith(TIMED_OUT):
            raise ModelError(
                f"{policy.name} answered none of {len(episodes)} requests ({reason}); when it is "
                "available again, continue with harness resume."
            )
    failed = [episode for episode in episodes if episode.ending is Ending.FAILED]
    if failed and all(episode.error.startswith(TIMED_OUT) for episode in failed):
        raise ModelError(
            f"{len(failed)} of {len(episodes)} completions of {policy.name} got no new content "
            "within model.timeout seconds, and nothing else failed: set model.timeout higher or "
            "model.concurrency lower in the run's config.toml, then continue with harness resume, "
            "which samples only these again."
        )
