"""`harness eval`: a model and prompt without training, or a finished run's final agent again."""

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
from harness.runs.build import build_run, final_agent_of
from harness.runs.request import read_request
from harness.runs.resolve import resolve
from harness.runs.run_dirs import existing, lay_out, new_folder
from harness.settings.executor import ExecutorSection
from harness.storage.atomic_files import write_json
from harness.storage.lock import Lock


def main(arguments: Arguments) -> int:
    """Without a run: the `base` method. With one: an analysis record beside it, never an entry."""
    if arguments.run is not None:
        return _evaluate_run(arguments)
    resolved = resolve(run.request_from(arguments, ("base",)))
    folder = arguments.run_dir or new_folder(f"eval-{resolved.configs[0].env.name}")
    return run.run_and_report(lay_out(resolved.configs, folder), arguments.quiet, arguments.json)


# Options that a run has settled already; split, tasks and samples may be given anew.
_SETTLED = ("env", "model", "seeds", "preset", "config", "sets", "prompt", "episodes", "run_dir")


def _evaluate_run(arguments: Arguments) -> int:
    given = [name for name in _SETTLED if getattr(arguments, name)]
    if given:
        raise UsageError(
            f"A finished run is evaluated as it was made: leave out "
            f"--{given[0].replace('_', '-')}, or evaluate without naming a run."
        )
    run_dirs = existing(arguments.run)
    if len(run_dirs) > 1 or not (run_dirs[0] / "entry.json").exists():
        raise UsageError(f"{arguments.run} is not one finished run; name one that is.")
    run_dir = run_dirs[0]
    request = read_request(run_dir)
    with Lock(run_dir / "run.lock"):
        record, summary = _analyse(run_dir, arguments)
    if arguments.json:
        print(json.dumps({**summary, "record": str(record)}))
        return 0
    mean = summary["mean_reward"]
    Console().print(
        f"{request.env.name} {arguments.split}: mean reward "
        f"{'—' if mean is None else format(mean, '.3f')}; written to {record}",
        markup=False,
    )
    return 0


def _analyse(run_dir: Path, arguments: Arguments) -> tuple[Path, dict[str, Any]]:
    # In this process, whichever executor made it.
    request = replace(read_request(run_dir), executor=ExecutorSection())
    context = build_run(request, run_dir, Callbacks([]), lambda: False)
    try:
        agent = final_agent_of(run_dir)
        if isinstance(context.policy, MeteredTrainable) and agent.policy_version:
            context.policy.load(run_dir / "checkpoint" / "policy")
        asked = context.request.evaluation
        samples = arguments.samples or asked.samples
        size = context.env.size(arguments.split)
        tasks = evaluation_tasks(arguments.split, size, arguments.test_tasks or asked.tasks or None)
        table = context.evaluation_table("analysis", arguments.split)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        log = run_dir / f"analysis-{arguments.split}-{stamp}.jsonl"
        records = evaluate(agent, tasks, samples, table, context.meter, log)
    finally:
        context.close()
    rewards = [float(str(line["reward"])) for line in records if line["reward"] is not None]
    mean = sum(rewards) / len(rewards) if rewards else None
    summary: dict[str, Any] = {
        "kind": "analysis",
        "split": arguments.split,
        "prompt": agent.prompt.id,
        "policy_version": agent.policy_version,
        "tasks": len(tasks),
        "samples": samples,
        "mean_reward": mean,
        "unscored": sum(line["reward"] is None for line in records),
    }
    write_json(log.with_suffix(".json"), summary)
    return log.with_suffix(".json"), summary
