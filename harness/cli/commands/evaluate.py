"""`harness eval`: a model and prompt without training, or a finished run's champion once more."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.callbacks import Callbacks
from harness.cli.arguments import Arguments
from harness.cli.commands import run
from harness.errors import UsageError
from harness.evaluate import evaluate, evaluation_tasks
from harness.metered import MeteredTrainable
from harness.runs.build import build_run, champion_of
from harness.runs.request import read_request
from harness.runs.resolve import resolve
from harness.runs.run_dirs import existing, lay_out, new_folder
from harness.settings.executor import ExecutorSection
from harness.storage.atomic_files import write_json
from harness.storage.lock import Lock


def main(arguments: Arguments) -> int:
    """Without a run: the `base` method. With one: an analysis record beside it, never an entry."""
    if arguments.run is not None:
        return _again(arguments)
    resolved = resolve(run.asked_from(arguments, ("base",)))
    folder = arguments.run_dir or new_folder(f"eval-{resolved.configs[0].env.name}")
    return run.go(lay_out(resolved.configs, folder), arguments.quiet, arguments.json)


# What a run has settled already; the rest (split, tasks, samples) may be asked for anew.
_NOT_AGAIN = ("env", "model", "seeds", "preset", "config", "sets", "prompt", "episodes", "run_dir")


def _again(arguments: Arguments) -> int:
    given = [name for name in _NOT_AGAIN if getattr(arguments, name)]
    if given:
        raise UsageError(
            f"A finished run is evaluated as it was made: leave out "
            f"--{given[0].replace('_', '-')}, or evaluate without naming a run."
        )
    places = existing(arguments.run)
    if len(places) > 1 or not (places[0] / "entry.json").exists():
        raise UsageError(f"{arguments.run} is not one finished run; name one that is.")
    place = places[0]
    request = read_request(place)
    with Lock(place / "run.lock"):
        record, told = _analyse(place, arguments)
    if arguments.json:
        print(json.dumps({**told, "record": str(record)}))
        return 0
    mean = told["mean_reward"]
    Console().print(
        f"{request.env.name} {arguments.split}: mean reward "
        f"{'—' if mean is None else format(mean, '.3f')}; written to {record}",
        markup=False,
    )
    return 0


def _analyse(place: Path, arguments: Arguments) -> tuple[Path, dict[str, Any]]:
    request = replace(read_request(place), executor=ExecutorSection())  # here, whoever made it
    stage = build_run(request, place, Callbacks([]), lambda: False)
    try:
        agent = champion_of(place)
        if isinstance(stage.policy, MeteredTrainable) and agent.policy_version:
            stage.policy.load(place / "checkpoint" / "policy")
        asked = stage.request.evaluation
        samples = arguments.samples or asked.samples
        size = stage.world.size(arguments.split)
        tasks = evaluation_tasks(arguments.split, size, arguments.test_tasks or asked.tasks or None)
        table = stage.evaluation_table("analysis", arguments.split)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        log = place / f"analysis-{arguments.split}-{stamp}.jsonl"
        played = evaluate(agent, tasks, samples, table, stage.meter, log)
    finally:
        stage.close()
    rewards = [float(str(line["reward"])) for line in played if line["reward"] is not None]
    mean = sum(rewards) / len(rewards) if rewards else None
    told: dict[str, Any] = {
        "kind": "analysis",
        "split": arguments.split,
        "prompt": agent.prompt.id,
        "policy_version": agent.policy_version,
        "tasks": len(tasks),
        "samples": samples,
        "mean_reward": mean,
        "unscored": sum(line["reward"] is None for line in played),
    }
    write_json(log.with_suffix(".json"), told)
    return log.with_suffix(".json"), told
