"""The training loop, the same for every method. Logging, resuming and settings live elsewhere."""

from harness.arena import Arena
from harness.method import Method
from harness.storage.run_dir import Run
from harness.types import Agent


def train(method: Method, arena: Arena, run: Run) -> Agent:
    """Train for all rounds of the plan (E-SPL Alg. 1), or until a stop is asked for."""
    for round in arena.rounds(start=run.resume(method)):
        assignments = method.assign(round)  # which prompts attempt which tasks, how often
        rollouts = arena.rollout(assignments)  # sample the episodes and their rewards
        report = method.learn(rollouts)  # update the weights, the prompts, or both
        run.save(rollouts, report, method.state())
    return method.final_agent()
