"""What one round of staleness hides: seconds a round, on-policy and one step behind.

    python -m benchmarks.staleness --wait 1.0

The world lets a reply wait, as a sandbox would, so that sampler and learner need not share a core
all the time; pocket's step and its replies are real. One sampler is an actor of a cluster of its
own, the learner is here; medians of rounds from the third on, of interleaved repeats.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import gymnasium
from typing_extensions import override

from envs import Problem, Verdict, World
from harness.budget import Spent
from harness.cli.experiment import make_method, prepare, set_stage
from harness.cli.resolve import Asked, resolve
from harness.cluster import connected
from harness.rollouts import Rollouts
from harness.train import train
from harness.types import Report
from harness.watch import Watcher, Watchers

ROUNDS = 8
_wait = 1.0


class Waits(World):
    """A reply of an odd number of characters is right, which is found out after a while."""

    name = "waits"
    briefing = "Say something."
    reply_tokens = 48
    side_by_side = 256

    @override
    def size(self, split: str) -> int:
        return 128

    @override
    def problem(self, split: str, index: int) -> Problem:
        return Problem(f"{split}-{index}", f"What is {index} and {index % 7}?", "1")

    @override
    def judge(self, reply: str, answer: str) -> Verdict:
        time.sleep(_wait)
        return Verdict.right() if len(reply) % 2 else Verdict.wrong()


class Clock(Watcher):
    """When each round of playing began, and what steps took."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.spent = Spent()

    @override
    def phase(self, name: str, total: int) -> None:
        if name == "playing":
            self.began.append(time.perf_counter())

    @override
    def round(self, rollouts: Rollouts, report: Report, spent: Spent) -> None:
        self.spent = spent


def rounds(staleness: int, tasks: int) -> tuple[list[float], float]:
    """Seconds from round to round, and of one step."""
    asked = Asked(
        env="benchmarks.staleness:Bench/Waits-v0",
        methods=("rl",),
        model="pocket",
        preset="pocket",
        sets=(
            "model.threads=1",
            "engine.samplers=1",
            f"engine.staleness={staleness}",
            f"budget.tasks={tasks}",
            "budget.prompts=1",
            "budget.samples=4",
            "sampling.max_tokens=48",
        ),
        episodes=ROUNDS * tasks * 4,
        test_tasks=1,
        samples=1,
        engine={"name": "ray"},
    )
    request = resolve(asked).configs[0]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        prepare(request, Path(folder))
        stage = set_stage(request, Path(folder), Watchers([clock]), lambda: False)
        try:
            train(make_method(stage), stage.arena, stage.run)
            stage.run.settle()
        finally:
            stage.close()
    times = [b - a for a, b in zip(clock.began, clock.began[1:], strict=False)]
    return times[2:], clock.spent.training_seconds / max(1, clock.spent.gradient_steps)


def main() -> None:
    global _wait
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wait", type=float, default=1.0, help="seconds a reply waits")
    parser.add_argument("--tasks", type=int, default=64, help="of a round, four replies each")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    import benchmarks.staleness as worlds  # the module whose world is registered

    worlds._wait = given.wait
    found: dict[int, list[float]] = {0: [], 1: []}
    steps: dict[int, list[float]] = {0: [], 1: []}
    with connected(""):
        for _ in range(given.repeats):
            for staleness in (0, 1):
                times, step = rounds(staleness, given.tasks)
                found[staleness] += times
                steps[staleness].append(step)
    print("staleness  s a round  s a step")
    for staleness, times in found.items():
        print(f"{staleness:>9}  {median(times):>9.2f}  {median(steps[staleness]):>8.2f}")


if __name__ != "__main__":
    gymnasium.register("Bench/Waits-v0", entry_point=Waits)
else:
    main()
