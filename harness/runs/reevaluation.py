"""Playing variants of a finished run's agent again, and writing down what came of it.

Nothing here makes or changes an entry, and nothing is chosen by it: records lie in the run's
`analyses/`, one folder each, and those made on the test split say so.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.callbacks import Callbacks
from harness.display.console_text import pipe_safe
from harness.errors import UsageError
from harness.evaluate import evaluate, evaluation_tasks
from harness.metered import MeteredTrainable
from harness.runs.build import RunContext, build_run, final_agent_of
from harness.runs.request import read_request
from harness.runs.run_dirs import existing
from harness.settings.config import Config
from harness.settings.executor import ExecutorSection
from harness.storage.atomic_files import write_json
from harness.storage.lock import Lock
from harness.types import Agent, SystemPrompt
from leaderboards.boards import formatting
from leaderboards.records.strict_json import encode
from leaderboards.stats.factorial import Cell, NamedEffect, all_in_unit_interval, cell_mean


def finished(run: Path) -> Path:
    """The run directory of one finished run."""
    places = existing(run)
    if len(places) > 1 or not (places[0] / "entry.json").exists():
        raise UsageError(f"{run} is not one finished run; name one that is.")
    return places[0]


@dataclass(frozen=True, slots=True)
class Reevaluated:
    """A variant and its mean rewards by task."""

    name: str
    agent: Agent
    cell: Cell
    unscored: int


class Analysis:
    """The stage of a finished run, set once more: the same world, policy and evaluation settings.

    Cells with base weights come first, because trained weights are not taken off again.
    """

    def __init__(self, place: Path, kind: str, arguments: argparse.Namespace) -> None:
        self.place, self.kind, self.split = place, kind, arguments.split
        self._asked = arguments
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self.folder = place / "analyses" / f"{kind}-{arguments.split}-{stamp}"
        self._console = pipe_safe(Console(stderr=True, quiet=arguments.json))
        self.agent = final_agent_of(place)
        # Here, whichever engine made it: a cluster may be gone, and its agents are the same.
        self.request = replace(read_request(place), executor=ExecutorSection())
        self._lock = Lock(place / "run.lock")
        self._stage: RunContext | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stage is not None:
            self._stage.close()
        self._lock.release()

    @property
    def root(self) -> SystemPrompt:
        """The prompt the run began with."""
        return SystemPrompt(self.request.run.prompt or "")

    @property
    def stage(self) -> RunContext:
        """World and policy, opened when first asked for."""
        if self._stage is None:
            self._stage = build_run(self.request, self.place, Callbacks([]), lambda: False)
        return self._stage

    def elsewhere(self, request: Config) -> None:
        """Set the stage for another world or model; its request is kept with the record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stage = build_run(request, self.folder, Callbacks([]), lambda: False)

    def play(self, name: str, agent: Agent) -> Reevaluated:
        """Play one variant on the split; its episodes are logged in the record's folder."""
        stage = self.stage
        self._weights(agent)
        size = stage.env.size(self.split)
        if size < 2:
            raise UsageError(
                f"{stage.request.env.name} has {size} {self.split} tasks, and a comparison takes "
                "two or more; say --split test."
            )
        asked = stage.request.evaluation
        wanted = self._asked.tasks or (asked.tasks if self.split == "test" else 0) or None
        tasks = evaluation_tasks(self.split, size, wanted)
        samples = self._asked.samples or asked.samples
        self._console.print(
            f"playing {name}: {len(tasks)} {self.split} tasks × {samples}", markup=False
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        table = stage.evaluation_table("analysis", self.split)
        log = self.folder / f"{_file(name)}.jsonl"
        played = evaluate(agent, tasks, samples, table, stage.meter, log)
        return Reevaluated(name, agent, *_means(played))

    def _weights(self, agent: Agent) -> None:
        policy = self.stage.policy
        if policy.version == agent.policy_version:
            return
        if policy.version or not isinstance(policy, MeteredTrainable):
            raise UsageError(f"{policy.name} cannot be brought to version {agent.policy_version}.")
        policy.load(self.place / "checkpoint" / "policy")

    def record(
        self, played: Sequence[Reevaluated], effects: Sequence[NamedEffect], **more: object
    ) -> dict[str, Any]:
        """Write the record and print it: a table for people, or one JSON object."""
        unit = all_in_unit_interval([one.cell for one in played])
        told: dict[str, Any] = {
            "kind": self.kind,
            "split": self.split,
            "estimand": "this agent",
            "cells": [_told(one, unit) for one in played],
            "effects": [{"name": one.name, **encode(one.effect)} for one in effects],
            **more,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "record.json", json.loads(json.dumps(told)))
        if self._asked.json:
            print(json.dumps({**told, "record": str(self.folder / "record.json")}))
        else:
            self._say(played, effects, unit)
        return told

    def _say(
        self, played: Sequence[Reevaluated], effects: Sequence[NamedEffect], unit: bool
    ) -> None:
        console = pipe_safe(Console())
        table = Table(box=None, padding=(0, 2, 0, 0))
        for head in (f"{self.split} split", "score", "95 % interval", "unscored"):
            table.add_column(head, justify="left" if head.endswith("split") else "right")
        for one in played:
            value, interval = cell_mean(one.cell, unit)
            ends = (
                [formatting.number(e, unit) for e in (interval.low, interval.high)]
                if interval
                else []
            )
            cells = (formatting.number(value, unit), "–".join(ends) or "—", str(one.unscored))
            table.add_row(Text(formatting.plain(one.name, 100)), *cells)
        console.print(table)
        for worth in effects:
            console.print(Text(f"· {worth_line(worth, unit)}"))
        several = f", p adjusted for {len(effects)} (Holm)" if len(effects) > 1 else ""
        console.print(
            f"this agent: tasks are paired, 95 % intervals{several}; for the method, compare runs"
        )
        console.print(f"written to {self.folder / 'record.json'}", markup=False, highlight=False)


def worth_line(worth: NamedEffect, unit: bool) -> str:
    """One difference in words."""
    effect = worth.effect
    name = formatting.plain(worth.name, 120)
    if effect.value is None:
        return f"{name}: {effect.reason}"
    text = f"{name}: {formatting.signed(effect.value, unit)}"
    if effect.interval is None:
        return f"{text}, no interval ({effect.reason})"
    low, high = (
        formatting.signed(end, unit) for end in (effect.interval.low, effect.interval.high)
    )
    chance = "" if effect.holm is None else f", p {formatting.p_text(effect.holm)}"
    return f"{text} [{low}, {high}] over {effect.units} tasks{chance}"


def _told(one: Reevaluated, unit: bool) -> dict[str, Any]:
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
