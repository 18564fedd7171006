"""The one loop. Every method trains in it; logging, resuming and configuration live elsewhere."""

from harness.arena import Arena
from harness.method import Method
from harness.storage.run_dir import Run
from harness.types import Agent


def train(method: Method, arena: Arena, run: Run) -> Agent:
    """Cast, play, learn, until the budget is spent (E-SPL Alg. 1 is one method of this shape)."""
    for round in arena.rounds(start=run.resume(method)):
        rollouts = arena.play(method.cast(round))
        report = method.learn(rollouts)
        run.save(rollouts, report, method.state())
    return method.champion()
