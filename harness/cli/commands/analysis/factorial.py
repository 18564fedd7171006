"""`harness factorial`: the 2 × 2 ablation {base, trained weights} × {initial, evolved prompt}."""

import argparse

from harness.errors import UsageError
from harness.runs.reevaluation import Analysis, finished
from harness.types import Agent
from leaderboards.stats.factorial import all_in_unit_interval, differences, factorial


def main(arguments: argparse.Namespace) -> int:
    """Evaluate four cells, or two if the run changed only the weights or only the prompt."""
    run_dir = finished(arguments.run)
    with Analysis(run_dir, "factorial", arguments) as analysis:
        agent, root = analysis.agent, analysis.root
        evolved, trained = agent.prompt != root, agent.policy_version > 0
        if not (evolved or trained):
            raise UsageError(
                f"{run_dir} changed neither weights nor prompt, so there are no cells to compare."
            )
        neither = analysis.play("base weights, initial prompt", Agent(root, 0))
        if not trained:
            prompt = analysis.play("base weights, evolved prompt", agent)
            unit = all_in_unit_interval([neither.cell, prompt.cell])
            worth = differences([("evolved prompt", prompt.cell, neither.cell)], unit)
            analysis.record([neither, prompt], worth)
            return 0
        if not evolved:
            weights = analysis.play("trained weights, initial prompt", agent)
            unit = all_in_unit_interval([neither.cell, weights.cell])
            worth = differences([("trained weights", weights.cell, neither.cell)], unit)
            analysis.record([neither, weights], worth)
            return 0
        prompt = analysis.play("base weights, evolved prompt", Agent(agent.prompt, 0))
        weights = analysis.play(
            "trained weights, initial prompt", Agent(root, agent.policy_version)
        )
        both = analysis.play("trained weights, evolved prompt", agent)
        played = [neither, prompt, weights, both]
        unit = all_in_unit_interval([one.cell for one in played])
        effects = factorial(neither.cell, prompt.cell, weights.cell, both.cell, unit)
        analysis.record(played, effects)
    return 0
