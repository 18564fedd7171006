"""Duration of one training step by part, and the harness's own overhead.

    python benchmarks/steps.py                          overhead with a free policy, then smollm2
    python benchmarks/steps.py --model hf:FOLDER        another model
    python benchmarks/steps.py --model none             overhead alone

Prints medians and ranges over iterations.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import envs
from harness.arena import Arena
from harness.budget import BudgetPlan, Shape
from harness.callbacks import Callback, Callbacks
from harness.metered import Meter, metered
from harness.policies import open_policy
from harness.policies.base import Sampling
from harness.runs.build import build_run, make_method
from harness.runs.resolve import Requested, resolve
from harness.seeds import Seeds
from harness.settings.model import ModelSettings
from harness.types import Assignment, SystemPrompt


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):8.3f}  ({min(values):.3f} to {max(values):.3f})"


def overhead(episodes: int, repeats: int) -> None:
    """Milliseconds per episode of everything but the model: world, play, meter."""
    policy = metered(open_policy("scripted:constant=Answer: 1", ModelSettings()), Meter(Callback()))
    shape = Shape(episodes // 10, 1, 10)
    arena = Arena(
        lambda split: envs.make("arithmetic", split),
        episodes // 10,
        policy,
        BudgetPlan(shape, repeats, 0),
        Sampling(),
        Seeds(0),
    )
    times = []
    for round in arena.rounds():
        began = time.perf_counter()
        arena.rollout([Assignment(SystemPrompt("Work it out."), t, 10) for t in round.tasks])
        times.append((time.perf_counter() - began) / episodes * 1000)
    print(f"overhead, ms per episode at {episodes} episodes: {spread(times)}")


def steps(model: str, method: str, episodes: int) -> None:
    """Seconds per training step, split by purpose, and tokens per second."""
    asked = Requested(
        env="arithmetic", methods=(method,), model=model, episodes=episodes, preset="laptop"
    )
    request = resolve(asked).configs[0]
    with tempfile.TemporaryDirectory() as folder:
        stage = build_run(request, Path(folder), Callbacks([]), lambda: False)
        learner = make_method(stage)
        parts: dict[str, list[float]] = {n: [] for n in ("sampling", "reflection", "training")}
        speeds = []
        for round in stage.arena.rounds():
            before = stage.meter.spent
            learner.learn(stage.arena.rollout(learner.assign(round)))
            after = stage.meter.spent
            parts["sampling"].append(after.acting_seconds - before.acting_seconds)
            parts["reflection"].append(after.reflection_seconds - before.reflection_seconds)
            parts["training"].append(after.training_seconds - before.training_seconds)
            tokens = after.acting_tokens - before.acting_tokens
            speeds.append(tokens / max(parts["sampling"][-1], 1e-9))
        stage.close()
    size = stage.plan.shape
    print(f"{model}, {method}, {size.tasks} × {size.prompts} × {size.samples} episodes a step:")
    for name, values in parts.items():
        print(f"  {name:>10}, seconds a step: {spread(values)}")
    print(f"  {'sampling':>10}, tokens/s:       {spread(speeds)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="smollm2", help="a model's URL, or none")
    parser.add_argument("--episodes", type=int, default=96, help="training episodes a method")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    overhead(1000, arguments.repeats)
    if arguments.model != "none":
        for method in ("rl", "espl"):
            steps(arguments.model, method, arguments.episodes)


if __name__ == "__main__":
    main()
