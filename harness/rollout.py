"""Batched rollouts: the environment observes, the policy completes, until every episode has ended.

Not `gymnasium.vector`, which steps all environments in lockstep and resets them automatically: here
a finished conversation leaves the batch and a waiting one enters. (Slow environments step together,
one turn at a time, so that they can be stepped in threads.) A failed episode is data, not a
crash: any exception of environment or grader ends that episode as failed, with its reason.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeAlias

from typing_extensions import override

from harness.active_episode import ActiveEpisode, PromptRole, RolloutConfig, first_messages, reason
from harness.env_pool import EnvPool
from harness.errors import ModelError, UsageError
from harness.policies.base import Policy, Request
from harness.policies.capabilities import TIMED_OUT, failures_of
from harness.storage.round_journal import Slot
from harness.types import Assignment, Ending, Episode, Task

__all__ = [
    "PromptRole",
    "RolloutConfig",
    "Slots",
    "first_messages",
    "raise_if_unanswered",
    "reason",
    "rollout",
    "slots",
]

Slots: TypeAlias = Mapping[Slot, tuple[int, Assignment]]
"""For each episode to sample: the position of its assignment, and an assignment for it alone."""
MAX_OPEN = 1024
"""Conversations open at once; the policy divides them into batches of its own size."""


def rollout(
    assignments: Iterable[Assignment],
    config: RolloutConfig,
    max_open: int = MAX_OPEN,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Episode]]:
    """Sample every assignment; yields (position of the assignment, episode) as episodes end.

    At most `max_open` conversations are open at once. Requests are made in an order that no clock
    decides, so that a result never depends on timing; unless the policy's results do anyway. Once
    `stop` says so, only requests that were sent are waited for, and what is left has no episode.

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
        yield from _continuous(queue, config, max_open, stop)
    elif config.deterministic:
        yield from _lockstep(queue, config, concurrency, stop)
    else:
        yield from _Overlapped(queue, config, concurrency, stop).run()


class _ReportedRequests(deque[Request]):
    """Requests that wait; each is reported when the policy takes it."""

    def __init__(self, report: Callable[[Request], None]) -> None:
        super().__init__()
        self._report = report

    @override
    def popleft(self) -> Request:
        self._report(self[0])
        return super().popleft()


def _requests(config: RolloutConfig) -> deque[Request]:
    return deque() if config.sending is None else _ReportedRequests(config.sending)


Queue = deque[tuple[int, ActiveEpisode]]
Active = dict[str, tuple[int, ActiveEpisode]]


def _continuous(
    queue: Queue, config: RolloutConfig, max_open: int, stop: Callable[[], bool]
) -> Iterator[tuple[int, Episode]]:
    """Continuous batching, for fast environments: each completion is graded as it arrives."""
    waiting = _requests(config)
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
            else:
                yield position, episode
                yield from _admit(active, queue, waiting, max_open)
            if stop():
                _withdraw(active, queue, waiting)
        # `generate` has returned, so what is still open gets no reply any more.
        for id, (position, current) in active.items():
            yield position, current.end(Ending.FAILED, _failure(config.policy, id))
        active.clear()


def _withdraw(active: Active, queue: Queue, waiting: deque[Request]) -> None:
    """Take back everything that was not sent to the policy yet."""
    queue.clear()
    for request in waiting:
        active.pop(request.id)[1].drop()
    waiting.clear()


def _lockstep(
    queue: Queue, config: RolloutConfig, concurrency: int, stop: Callable[[], bool]
) -> Iterator[tuple[int, Episode]]:
    """One turn of all open conversations at a time, for slow environments (containers, say).

    They step in threads while other completions are sampled. A fast one waits for the slow ones,
    so that the batches do not depend on which was fast.
    """
    active: list[tuple[int, ActiveEpisode]] = []
    with ThreadPoolExecutor(concurrency, "env") as executor:
        while queue or active:
            entering = [queue.popleft() for _ in range(min(len(queue), concurrency - len(active)))]
            opened = list(executor.map(ActiveEpisode.reset, [one for _, one in entering]))
            started = list(zip(entering, opened, strict=True))
            yield from ((position, failed) for (position, _), failed in started if failed)
            active += [one for one, failed in started if failed is None]
            steps: dict[str, Future[Episode | None]] = {}
            requested = [one.id for _, one in active]
            by_id = {one.id: one for _, one in active}
            waiting = _requests(config)
            waiting.extend(one.request() for _, one in active)
            for id, completion in config.policy.generate(waiting):
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
            if stop():
                for _, current in active:
                    current.drop()
                return


class _Overlapped:
    """Slow environments that step in threads while other completions are sampled.

    Only for policies whose results may come in any order: a conversation goes on as soon as its own
    environment has answered, so that the policy's window of requests stays full.
    """

    def __init__(
        self, queue: Queue, config: RolloutConfig, concurrency: int, stop: Callable[[], bool]
    ) -> None:
        self.queue, self.config, self.concurrency, self.stop = queue, config, concurrency, stop
        self.waiting = _requests(config)
        self.active: Active = {}
        self.stepping: dict[Future[Episode | None], tuple[int, ActiveEpisode]] = {}

    def run(self) -> Iterator[tuple[int, Episode]]:
        with ThreadPoolExecutor(self.concurrency, "env") as executor:
            while self.queue or self.waiting or self.stepping:
                self._open(executor)
                if not self.waiting:
                    wait(self.stepping, return_when=FIRST_COMPLETED)
                yield from self._answered()
                for id, completion in self.config.policy.generate(self.waiting):
                    position, current = self.active.pop(id)
                    step = executor.submit(current.step, completion)
                    self.stepping[step] = (position, current)
                    yield from self._answered()
                    if self.stop():
                        _withdraw(self.active, self.queue, self.waiting)
                    self._open(executor)
                # `generate` has returned, so what is still open gets no reply any more.
                for id, (position, current) in self.active.items():
                    yield position, current.end(Ending.FAILED, _failure(self.config.policy, id))
                self.active.clear()

    def _open(self, executor: ThreadPoolExecutor) -> None:
        while self.queue and len(self.active) + len(self.stepping) < self.concurrency:
            position, current = self.queue.popleft()
            self.stepping[executor.submit(current.reset)] = (position, current)

    def _answered(self) -> Iterator[tuple[int, Episode]]:
        """Environments that have answered: episodes that have ended, and further requests."""
        for step in [step for step in self.stepping if step.done()]:
            position, current = self.stepping.pop(step)
            episode = step.result()
            if episode is not None:
                yield position, episode
            elif self.stop():
                current.drop()
            else:
                self.waiting.append(current.request())
                self.active[current.id] = (position, current)


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
) -> Iterator[tuple[int, ActiveEpisode]]:
    for (_, _, sample), (position, assignment) in slots(assignments).items():
        yield position, ActiveEpisode(assignment.prompt, assignment.task, sample, config)


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
            "within model.timeout seconds, and nothing else failed: continue with harness resume "
            "RUN --set model.timeout=SECONDS, or with a lower model.concurrency; only these "
            "completions are sampled again."
        )
