"""The single held-out evaluation of a run, after its agent is frozen.

Only this module evaluates a run's agent on test. An evaluation that was killed continues from its
stored episodes and still counts as one. On a deterministic backend, episodes are sampled in chunks
of a fixed size, so that the completions that share a batch do not depend on where it was stopped.
Elsewhere as many requests as the policy takes are under way from the first episode to the last, and
every episode is written down before it is requested, so that a second draw is counted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from harness.errors import RunError
from harness.metered import Meter
from harness.policies.base import Request
from harness.policies.capabilities import TIMED_OUT
from harness.rollout import RolloutConfig, raise_if_unanswered, rollout
from harness.seeds import Seeds
from harness.storage.atomic_files import Log, lines, read_json, write_json
from harness.storage.log_checksum import check_log, write_log_checksum
from harness.storage.ordered_log import OrderedLog
from harness.storage.request_log import RequestLog
from harness.storage.transcript import episode_json
from harness.types import JSON, Agent, Assignment, Ending, Episode, Split, Task

CHUNK = 64
"""Episodes per chunk. Changing it changes batches, and with them the last digits of logits."""


class Interrupted(Exception):
    """The user stopped the run; what is stored is consistent and can be resumed."""


def evaluation_tasks(split: Split, size: int, requested: int | None) -> tuple[Task, ...]:
    """All tasks of the split, or a fixed sample of it, the same for every run and seed."""
    if requested is None or requested >= size:
        return tuple(Task(split, n) for n in range(size))
    # Seed 0 whatever the run's: all runs must be tested on the same tasks.
    order = Seeds(0).generator("test tasks", size).permutation(size)
    return tuple(Task(split, int(n)) for n in sorted(order[:requested]))


def record_test_agent(folder: Path, agent: Agent, requests: RequestLog | None = None) -> None:
    """Record the agent that is evaluated on test, and that its requests are written down, if so.

    Raises:
        RunError: The run was evaluated with another agent before, or the record is missing.
            Evaluating several and reporting one of them would be selection on test.
    """
    path = folder / "opening.json"
    declared: Mapping[str, JSON] = {
        "openings": 1,
        "agents": [{"prompt": agent.prompt.id, "policy_version": agent.policy_version}],
    }
    before = read_json(path) if path.exists() else None
    if before is not None and before["agents"] != declared["agents"]:
        raise RunError(
            f"{folder} was already evaluated on test with another agent, and a run has one "
            "held-out evaluation. Start a new run to evaluate this one."
        )
    if requests is not None:
        declared = {**declared, "requests": requests.path.name}
        _begin_requests(requests, path, before)
    if before is None:
        write_json(path, {**declared, "opened": datetime.now(UTC).isoformat(timespec="seconds")})


def _begin_requests(requests: RequestLog, opening: Path, before: Mapping[str, JSON] | None) -> None:
    """Start the log of requests, before the evaluation is recorded as opened.

    Raises:
        RunError: One of the two is missing.
    """
    if before is None and not requests.empty:
        lost = opening
    elif before is not None and "requests" in before and not requests.starts:
        lost = requests.path
    else:
        # An evaluation that an older version began has no such log.
        requests.adopting = before is not None and not requests.starts
        requests.start()
        return
    raise RunError(
        f"{lost} is missing or empty, although test episodes were requested; restore it, or start "
        "a new run."
    )


def evaluate(
    agent: Agent,
    tasks: Sequence[Task],
    samples: int,
    config: RolloutConfig,
    meter: Meter,
    log_path: Path,
    stop: Callable[[], bool] = lambda: False,
    requests: RequestLog | None = None,
) -> list[Mapping[str, JSON]]:
    """Sample every task `samples` times; returns the logged episodes by task and sample.

    Episodes are appended to `log_path` in that order; those already there are not sampled again.
    `stop` is checked between chunks, or between episodes where there are no chunks. `requests` is
    for a policy that is not deterministic.

    Raises:
        Interrupted: `stop` returned True.
        ModelError: The policy answered no request at all, or all failures are time-outs.
        RunError: What is stored is not of this evaluation.
    """
    assert config.policy.version == agent.policy_version, "the weights are not the agent's"
    # One assignment per sample, so that a chunk can end between samples of one task.
    assignments = [
        Assignment(agent.prompt, task, 1, first=n) for task in tasks for n in range(samples)
    ]
    if not config.deterministic:
        return _evaluate_in_any_order(assignments, config, meter, log_path, stop, requests)
    log, done = _reopen(log_path, _Places(assignments, agent, log_path))
    _begin(meter, done, len(assignments))
    try:
        for start in range(len(done), len(assignments), CHUNK):
            if stop():
                raise Interrupted
            done += _evaluate_chunk(assignments[start : start + CHUNK], config, meter, log)
    finally:
        log.close()
    return done


def _begin(meter: Meter, done: Sequence[Mapping[str, JSON]], total: int) -> None:
    """Count episodes of an earlier process, which are part of what this evaluation cost."""
    for line in done:
        meter.episodes("evaluate", 1)
        meter.completion("evaluate", cast(int, line["sampled"]))
    meter.callback.phase("evaluation", total - len(done))


class _Places:
    """Positions of logged episodes in an evaluation, by their task and sample."""

    def __init__(self, assignments: Sequence[Assignment], agent: Agent, path: Path) -> None:
        self._agent, self._path = agent, path
        self._by_name = {(str(a.task), a.first): n for n, a in enumerate(assignments)}

    def __len__(self) -> int:
        return len(self._by_name)

    def __call__(self, line: Mapping[str, JSON]) -> int:
        """The position of a logged episode.

        Raises:
            RunError: It is none of this evaluation.
        """
        agent = line.get("prompt"), line.get("policy_version")
        task, sample, sampled = line.get("task"), line.get("sample"), line.get("sampled")
        known = isinstance(task, str) and type(sample) is int and type(sampled) is int
        position = self._by_name.get((cast(str, task), cast(int, sample))) if known else None
        if position is None or agent != (self._agent.prompt.id, self._agent.policy_version):
            raise RunError(
                f"{self._path} holds an episode that is none of this evaluation (task "
                f"{str(task)[:40]!r}, sample {str(sample)[:20]}); restore it, or start a new run."
            )
        return position


def _evaluate_in_any_order(
    assignments: Sequence[Assignment],
    config: RolloutConfig,
    meter: Meter,
    path: Path,
    stop: Callable[[], bool],
    requests: RequestLog | None,
) -> list[Mapping[str, JSON]]:
    agent = Agent(assignments[0].prompt, config.policy.version)
    log = OrderedLog(path, _Places(assignments, agent, path))
    missing = [n for n in range(len(assignments)) if n not in log]
    _begin(meter, [*log.lines, *log.early.values()], len(assignments))
    episodes: list[Episode] = []
    unanswered: dict[int, Episode] = {}
    try:
        if requests is not None:
            requests.require(log.positions)
            config = replace(config, sending=_written_down(assignments, requests))
        if missing and stop():
            raise Interrupted
        for n, episode in rollout([assignments[n] for n in missing], config, stop=stop):
            episodes.append(episode)
            meter.episodes("evaluate", 1)
            meter.callback.episode(episode, "evaluate")
            if _may_be_no_outcome(episode):
                unanswered[missing[n]] = episode
            else:
                log.add(missing[n], episode_json(episode))
        if len(episodes) < len(missing):
            raise Interrupted
        raise_if_unanswered(episodes, config.policy)
        for n, episode in sorted(unanswered.items()):
            log.add(n, episode_json(episode))
    finally:
        log.close()
    return log.lines


def _may_be_no_outcome(episode: Episode) -> bool:
    """True for a failure that an outage or time-outs alone may turn out to explain."""
    late = episode.error.startswith(TIMED_OUT)
    return episode.ending is Ending.FAILED and (late or not episode.turns)


def _written_down(
    assignments: Sequence[Assignment], requests: RequestLog
) -> Callable[[Request], None]:
    """A function that writes an episode down when its first request is sent."""
    first = {f"{a.prompt.id}/{a.task}/{a.first}/0": n for n, a in enumerate(assignments)}

    def write(request: Request) -> None:
        if (position := first.get(request.id)) is not None:
            requests.requested(position)

    return write


def _evaluate_chunk(
    assignments: Sequence[Assignment], config: RolloutConfig, meter: Meter, log: Log
) -> list[Mapping[str, JSON]]:
    episodes: dict[int, Episode] = {}
    for position, episode in rollout(assignments, config):
        episodes[position] = episode
        meter.episodes("evaluate", 1)
        meter.callback.episode(episode, "evaluate")
    raise_if_unanswered(episodes.values(), config.policy)
    chunk = [episode_json(episodes[n]) for n in range(len(assignments))]
    for line in chunk:
        log.append(line)
    log.sync()  # on disk before the next chunk is paid for
    write_log_checksum(log)
    return chunk


def _reopen(path: Path, places: _Places) -> tuple[Log, list[Mapping[str, JSON]]]:
    check_log(path)
    stored = list(lines(path))
    # What does not follow on is sampled again, and is the same again.
    in_place = next((n for n, (_, line) in enumerate(stored) if places(line) != n), len(stored))
    # A chunk that was cut short is sampled again as a whole, as its batches were.
    whole = in_place if in_place == len(places) else in_place // CHUNK * CHUNK
    log = Log(path)
    log.cut(stored[whole - 1][0] if whole else 0)
    return log, [line for _, line in stored[:whole]]
