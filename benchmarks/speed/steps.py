"""A worker that takes one training step per turn: sampling and update, through the harness.

Rewards are artificial (every other completion of a group is right), so every group has an advantage
and no contestant saves work on zero-std groups.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import harness.metered
from benchmarks.speed.race import serve
from benchmarks.speed.work import WORKS, Work
from harness.callbacks import Callbacks
from harness.rollout import first_messages
from harness.round_data import Rollouts, Round
from harness.runs.build import RunContext, build_run, make_method
from harness.runs.resolve import Requested, resolve
from harness.types import Episode

ROUNDS = 24
LEARNING_RATE = 1e-6  # so small that replies keep the lengths they have


def marked(episode: Episode) -> Episode:
    """The same episode with the made-up reward."""
    return replace(episode, reward=float(episode.sample % 2))


def remarked(rollouts: Rollouts) -> Rollouts:
    groups = (replace(g, episodes=tuple(map(marked, g.episodes))) for g in rollouts.groups)
    return replace(rollouts, groups=tuple(groups))


def staged(work: Work, task: Mapping[str, Any], folder: str) -> RunContext:
    prompts = 2
    settings = {
        "budget.tasks": task.get("tasks", work.tasks),
        "budget.prompts": prompts,
        "budget.samples": task.get("samples", work.samples) // prompts,
        "sampling.max_tokens": task.get("limit", work.limit),
        "sampling.temperature": 1.0,
        "model.threads": task["threads"],
        "model.device": task.get("device", "cpu"),
        "model.dtype": task.get("dtype", "float32"),
        "model.batch_rows": task.get("batch_rows", work.batch_rows),
        "model.lora_rank": work.lora_rank,
        "model.lora_alpha": work.lora_alpha,
    }
    if task["method"] != "evolution":
        settings["method.learning_rate"] = LEARNING_RATE
    episodes = ROUNDS * settings["budget.tasks"] * prompts * settings["budget.samples"]
    asked = Requested(
        env=task.get("env", work.env),
        methods=(task["method"],),
        model=work.model,
        episodes=episodes,
        preset=work.preset,
        sets=tuple(f"{k}={v}" for k, v in settings.items()),
    )
    return build_run(resolve(asked).configs[0], Path(folder), Callbacks([]), lambda: False)


def questions(stage: RunContext, work: Work, root: str) -> list[list[dict[str, str]]]:
    """The conversations of all rounds' tasks, in order, as chat messages."""
    env = stage.arena.envs.acquire("train")
    asked = [env.reset(seed=t.seed)[0] for i in range(ROUNDS) for t in stage.arena.tasks(i)]
    talks = [first_messages(root, text, stage.arena.prompt_role) for text in asked]
    return [[{"role": m.role, "content": m.content} for m in talk] for talk in talks]


def main(work: Work, task: Mapping[str, Any]) -> None:
    # The meter then counts CPU seconds.
    metered: Any = harness.metered
    metered.time = SimpleNamespace(perf_counter=time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        stage = staged(work, task, folder)
        learner = make_method(stage)
        rounds: Iterator[Round] = stage.arena.rounds()

        def once() -> tuple[int, Mapping[str, float]]:
            before = stage.meter.spent
            learner.learn(remarked(stage.arena.rollout(learner.assign(next(rounds)))))
            after = stage.meter.spent
            names = {"acting": "sampling", "training": "training", "reflection": "reflection"}
            parts = {
                part: getattr(after, f"{name}_seconds") - getattr(before, f"{name}_seconds")
                for name, part in names.items()
            }
            return after.acting_tokens - before.acting_tokens, parts

        root = getattr(learner, "root", None)
        facts = {"prompts": questions(stage, work, root.text)} if root else {}
        serve(once, **facts)


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    main(WORKS[task["model"]], task)
