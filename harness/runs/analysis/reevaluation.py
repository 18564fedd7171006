"""Evaluation of variants of a finished run's agent, and records of the results.

No entry is made or changed, and nothing is selected by it: records lie in the run's `analyses/`,
one folder each, and those made on the test split say so.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.callbacks import Callbacks
from harness.errors import UsageError
from harness.evaluate import evaluate, evaluation_tasks
from harness.metered import MeteredTrainable
from harness.runs.build import RunContext, build_run
from harness.runs.request import read_request
from harness.runs.run_dirs import existing
from harness.settings.config import Config
from harness.settings.executor import ExecutorSection
from harness.storage.atomic_files import write_json
from harness.storage.final_agent import final_agent_of, load_final_weights
from harness.storage.lock import Lock
from harness.types import Agent, Split, SystemPrompt
from leaderboards.records.store import read_entry
from leaderboards.records.strict_json import encode
from leaderboards.stats.factorial import Cell, NamedEffect, all_in_unit_interval, cell_mean


def finished(run: Path) -> Path:
    """The run directory of one finished run."""
    run_dirs = existing(run)
    if len(run_dirs) > 1 or not (run_dirs[0] / "entry.json").exists():
        raise UsageError(f"{run} is not one finished run; name one that is.")
    return run_dirs[0]


@dataclass(frozen=True, slots=True)
class Reevaluated:
    """A variant and its mean rewards by task."""

    name: str
    agent: Agent
    cell: Cell
    unscored: int


@dataclass(frozen=True, slots=True)
class AnalysisResult:
    """Evaluated variants, effects between them, and further values of the record."""

    cells: Sequence[Reevaluated]
    effects: Sequence[NamedEffect]
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def unit(self) -> bool:
        """True if all rewards lie in [0, 1], so that scores are shown in points."""
        return all_in_unit_interval([one.cell for one in self.cells])


class Analysis:
    """A finished run, opened again: the same environment, policy and evaluation settings.

    Cells with base weights come first, because trained weights are not taken off again.
    `tasks` and `samples` default to those of the run; `say` is given a line for each evaluation.
    """

    def __init__(
        self,
        run_dir: Path,
        kind: str,
        split: Split,
        tasks: int | None = None,
        samples: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.run_dir, self.kind, self.split = run_dir, kind, split
        self._tasks, self._samples, self._say = tasks, samples, say
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self.folder = run_dir / "analyses" / f"{kind}-{split}-{stamp}"
        self.agent = final_agent_of(run_dir)
        # In this process, whichever executor made the run: a cluster may be gone, and the results
        # are the same.
        self.request = replace(read_request(run_dir), executor=ExecutorSection())
        # Opening the run opens its logs for writing too.
        self._lock = Lock(run_dir / "run.lock")
        self._context: RunContext | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._context is not None:
            self._context.close()
        self._lock.release()

    @property
    def root(self) -> SystemPrompt:
        """The prompt the run began with."""
        return SystemPrompt(self.request.run.prompt or "")

    @property
    def context(self) -> RunContext:
        """Environment and policy, opened at the first use."""
        if self._context is None:
            self._context = build_run(self.request, self.run_dir, Callbacks([]), lambda: False)
        return self._context

    def open_elsewhere(self, request: Config) -> None:
        """Open another environment or model; its request is stored with the record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._context = build_run(request, self.folder, Callbacks([]), lambda: False)

    def evaluate(self, name: str, agent: Agent) -> Reevaluated:
        """Evaluate one variant on the split; its episodes are logged in the record's folder."""
        context = self.context
        self._weights(agent)
        size = context.env.size(self.split)
        if size < 2:
            raise UsageError(
                f"{context.request.env.name} has {size} {self.split} tasks, and a comparison takes "
                "two or more; type --split test."
            )
        settings = context.request.evaluation
        wanted = self._tasks or (settings.tasks if self.split == "test" else 0) or None
        tasks = evaluation_tasks(self.split, size, wanted)
        samples = self._samples or settings.samples
        self._say(f"evaluating {name}: {len(tasks)} {self.split} tasks × {samples}")
        self.folder.mkdir(parents=True, exist_ok=True)
        table = context.evaluation_table("analysis", self.split)
        log = self.folder / f"{_file(name)}.jsonl"
        played = evaluate(agent, tasks, samples, table, context.meter, log)
        return Reevaluated(name, agent, *_means(played))

    def _weights(self, agent: Agent) -> None:
        policy = self.context.policy
        if policy.version == agent.policy_version:
            return
        if policy.version or not isinstance(policy, MeteredTrainable):
            raise UsageError(f"{policy.name} cannot be brought to version {agent.policy_version}.")
        entry = read_entry(self.run_dir / "entry.json")
        load_final_weights(policy, self.run_dir, agent, entry.adapter_hash)

    def record(self, result: AnalysisResult) -> dict[str, Any]:
        """Write the result to `record.json` in the analysis folder; returns what was written."""
        record: dict[str, Any] = {
            "kind": self.kind,
            "split": self.split,
            "estimand": "this agent",
            "cells": [_cell_record(one, result.unit) for one in result.cells],
            "effects": [{"name": one.name, **encode(one.effect)} for one in result.effects],
            **result.more,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.record_path, json.loads(json.dumps(record)))
        return record

    @property
    def record_path(self) -> Path:
        """The file that the record is written to."""
        return self.folder / "record.json"


def _cell_record(one: Reevaluated, unit: bool) -> dict[str, Any]:
    value, interval = cell_mean(one.cell, unit)
    return {
        "name": one.name,
        "prompt": one.agent.prompt.id,
        "principles": list(one.agent.prompt.principles),
        "policy_version": one.agent.policy_version,
        "score": value,
        "interval": encode(interval),
        "tasks": len(one.cell),
        "unscored": one.unscored,
    }


def _means(played: Sequence[Mapping[str, Any]]) -> tuple[Cell, int]:
    by_task: dict[str, list[float]] = {}
    for line in played:
        if line["reward"] is not None:
            by_task.setdefault(str(line["task"]), []).append(float(line["reward"]))
    means = {task: sum(values) / len(values) for task, values in by_task.items()}
    return means, sum(line["reward"] is None for line in played)


def _file(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())[:60]


def without(prompt: SystemPrompt, number: int) -> SystemPrompt:
    """The prompt without one of its principles."""
    kept = (*prompt.principles[:number], *prompt.principles[number + 1 :])
    return replace(prompt, principles=kept)
