"""The single held-out evaluation of a run, after its agent is frozen.

Only this module evaluates a run's agent on test. An evaluation that was killed continues from its
stored episodes and still counts as one. On a deterministic backend, episodes are sampled in chunks
of a fixed size, so that the completions that share a batch do not depend on where it was stopped.
Elsewhere as many requests as the policy takes are under way from the first episode to the last.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from harness.errors import RunError
from harness.metered import Meter
from harness.rollout import RolloutConfig, raise_if_unanswered, rollout
from harness.seeds import Seeds
from harness.storage.atomic_files import Log, lines, read_json, write_json
from harness.storage.ordered_log import OrderedLog
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


def record_test_agent(folder: Path, agent: Agent) -> None:
    """Record the agent that is evaluated on test.

    Raises:
        RunError: The run was evaluated with another agent before. Evaluating several and reporting
            one of them would be selection on test.
    """
    path = folder / "opening.json"
    declared: Mapping[str, JSON] = {
        "openings": 1,
        "agents": [{"prompt": agent.prompt.id, "policy_version": agent.policy_version}],
    }
    if path.exists():
        before = read_json(path)
        if before["agents"] != declared["agents"]:
            raise RunError(
                f"{folder} was already evaluated on test with another agent, and a run has one "
                "held-out evaluation. Start a new run to evaluate this one."
            )
        return
    write_json(path, {**declared, "opened": datetime.now(UTC).isoformat(timespec="seconds")})


def evaluate(
    agent: Agent,
    tasks: Sequence[Task],
    samples: int,
    config: RolloutConfig,
    meter: Meter,
    log_path: Path,
    stop: Callable[[], bool] = lambda: False,
) -> list[Mapping[str, JSON]]:
    """Sample every task `samples` times; returns the logged episodes by task and sample.

    Episodes are appended to `log_path` in that order; those already there are not sampled again.
    `stop` is checked between chunks, or between episodes where there are no chunks.

    Raises:
        Interrupted: `stop` returned True.
        ModelError: The policy answered no request at all, or all failures are time-outs.
    """
    assert config.policy.version == agent.policy_version, "the weights are not the agent's"
    # One assignment per sample, so that a chunk can end between samples of one task.
    assignments = [
        Assignment(agent.prompt, task, 1, first=n) for task in tasks for n in range(samples)
    ]
    if not config.deterministic:
        return _evaluate_in_any_order(assignments, config, meter, log_path, stop)
    log, done = _reopen(log_path, len(assignments))
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


def _evaluate_in_any_order(
    assignments: Sequence[Assignment],
    config: RolloutConfig,
    meter: Meter,
    path: Path,
    stop: Callable[[], bool],
) -> list[Mapping[str, JSON]]:
    log = OrderedLog(path)
    missing = [n for n in range(len(assignments)) if n not in log]
    _begin(meter, [*log.lines, *log.early.values()], len(assignments))
    episodes: list[Episode] = []
    unanswered: dict[int, Episode] = {}
    try:
        if missing and stop():
            raise Interrupted
        for n, episode in rollout([assignments[n] for n in missing], config, stop=stop):
            episodes.append(episode)
            meter.episodes("evaluate", 1)
            meter.callback.episode(episode, "evaluate")
            # Kept back, as an outage or time-outs may turn out to be no outcomes.
            if episode.ending is Ending.FAILED:
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
    return chunk


def _reopen(path: Path, total: int) -> tuple[Log, list[Mapping[str, JSON]]]:
    stored = list(lines(path))
    # A chunk that was cut short is sampled again as a whole, as its batches were.
    whole = len(stored) if len(stored) == total else len(stored) // CHUNK * CHUNK
    log = Log(path)
    log.cut(stored[whole - 1][0] if whole else 0)
    return log, [line for _, line in stored[:whole]]
