"""Another evaluation of a finished run's final agent, recorded beside the run, never an entry."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.callbacks import Callbacks
from harness.evaluate import evaluate, evaluation_tasks
from harness.metered import MeteredTrainable
from harness.runs.build import build_run
from harness.runs.request import read_request
from harness.settings.executor import ExecutorSection
from harness.storage.atomic_files import write_json
from harness.storage.final_agent import final_agent_of, load_final_weights
from harness.types import Split
from leaderboards.records.store import read_entry


def evaluate_again(
    run_dir: Path, split: Split, tasks: int | None, samples: int | None
) -> tuple[Path, dict[str, Any]]:
    """Evaluate the run's final agent on a split; returns the record's path and its content.

    `tasks` and `samples` default to those of the run. The record is no entry: it is not published.
    """
    # In this process, whichever executor made it.
    request = replace(read_request(run_dir), executor=ExecutorSection())
    agent, entry = final_agent_of(run_dir), read_entry(run_dir / "entry.json")
    context = build_run(request, run_dir, Callbacks([]), lambda: False)
    try:
        if isinstance(context.policy, MeteredTrainable) and agent.policy_version:
            load_final_weights(context.policy, run_dir, agent, entry.adapter_hash)
        settings = context.request.evaluation
        samples = samples or settings.samples
        size = context.env.size(split)
        chosen = evaluation_tasks(split, size, tasks or settings.tasks or None)
        table = context.evaluation_table("analysis", split)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        log = run_dir / f"analysis-{split}-{stamp}.jsonl"
        records = evaluate(agent, chosen, samples, table, context.meter, log)
    finally:
        context.close()
    rewards = [float(str(line["reward"])) for line in records if line["reward"] is not None]
    mean = sum(rewards) / len(rewards) if rewards else None
    summary: dict[str, Any] = {
        "kind": "analysis",
        "split": split,
        "prompt": agent.prompt.id,
        "policy_version": agent.policy_version,
        "tasks": len(chosen),
        "samples": samples,
        "mean_reward": mean,
        "unscored": sum(line["reward"] is None for line in records),
    }
    write_json(log.with_suffix(".json"), summary)
    return log.with_suffix(".json"), summary
