"""The evaluator: it alone opens the test split, once a run, for agents that were frozen before.

A killed opening goes on from the outcomes it stored and stays one opening. Episodes are played in
chunks of a fixed size, so that which replies share a batch never depends on where it was stopped.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from harness.errors import RunError
from harness.metered import Meter
from harness.rollout import RolloutConfig, play, refuse_silence
from harness.seeds import Seeds
from harness.storage.atomic_files import Log, lines, read_json, write_json
from harness.storage.transcript import episode_json
from harness.types import JSON, Agent, Assignment, Episode, Split, Task

CHUNK = 64


class Interrupted(Exception):
    """The user asked to stop; what is stored is whole and can be resumed."""


def chosen_tasks(split: Split, size: int, wanted: int | None) -> tuple[Task, ...]:
    """The same tasks for every run: all of them, or a fixed sample of the split."""
    if wanted is None or wanted >= size:
        return tuple(Task(split, n) for n in range(size))
    order = Seeds(0).generator("test tasks", size).permutation(size)
    return tuple(Task(split, int(n)) for n in sorted(order[:wanted]))


def open_test(folder: Path, agent: Agent) -> None:
    """Write down that test is opened for this agent; refuses a second, different opening."""
    path = folder / "opening.json"
    declared: Mapping[str, JSON] = {
        "openings": 1,
        "agents": [{"prompt": agent.prompt.id, "policy_version": agent.policy_version}],
    }
    if path.exists():
        before = read_json(path)
        if before["agents"] != declared["agents"]:
            raise RunError(
                f"{folder} opened its test split for another agent; test is opened once a run. "
                "Start a new run to evaluate this one."
            )
        return
    write_json(path, {**declared, "opened": datetime.now(UTC).isoformat(timespec="seconds")})


def evaluate(
    agent: Agent,
    tasks: Sequence[Task],
    samples: int,
    table: RolloutConfig,
    meter: Meter,
    log_path: Path,
    stop: Callable[[], bool] = lambda: False,
) -> list[Mapping[str, JSON]]:
    """Play every task `samples` times; returns the logged episodes, in order of task and sample."""
    assert table.policy.version == agent.policy_version, "the weights are not the agent's"
    cells = [Assignment(agent.prompt, task, 1, first=n) for task in tasks for n in range(samples)]
    log, done = _reopen(log_path, len(cells))
    for line in done:
        meter.episodes("evaluate", 1)
        meter.reply("evaluate", cast(int, line["sampled"]))
    meter.watcher.phase("testing", len(cells) - len(done))
    try:
        for start in range(len(done), len(cells), CHUNK):
            if stop():
                raise Interrupted
            done += _play_chunk(cells[start : start + CHUNK], table, meter, log)
    finally:
        log.close()
    return done


def _play_chunk(
    cells: Sequence[Assignment], table: RolloutConfig, meter: Meter, log: Log
) -> list[Mapping[str, JSON]]:
    played: dict[int, Episode] = {}
    for position, episode in play(cells, table):
        played[position] = episode
        meter.episodes("evaluate", 1)
        meter.watcher.episode(episode, "evaluate")
    refuse_silence(played.values(), table.policy)
    chunk = [episode_json(played[n]) for n in range(len(cells))]
    for line in chunk:
        log.append(line)
    log.sync()
    return chunk


def _reopen(path: Path, total: int) -> tuple[Log, list[Mapping[str, JSON]]]:
    stored = list(lines(path))
    whole = len(stored) if len(stored) == total else len(stored) // CHUNK * CHUNK
    log = Log(path)
    log.cut(stored[whole - 1][0] if whole else 0)
    return log, [line for _, line in stored[:whole]]
