"""`harness attribute`: leave-one-out ablation of the principles of the selected prompt.

A principle that another one repeats has no effect by this measure, though both together may have a
large one; the row without any principle shows that.
"""

import argparse

from harness.errors import UsageError
from harness.runs.reevaluation import Analysis, finished, without
from harness.types import Agent, SystemPrompt
from leaderboards.boards.formatting import plain
from leaderboards.stats.factorial import all_in_unit_interval, differences


def main(arguments: argparse.Namespace) -> int:
    """Evaluate the whole prompt, without each principle in turn, and without all of them."""
    run_dir = finished(arguments.run)
    with Analysis(run_dir, "attribute", arguments) as analysis:
        agent = analysis.agent
        prompt, version = agent.prompt, agent.policy_version
        if not prompt.principles:
            raise UsageError(f"The prompt of {run_dir} has no principles to leave out.")
        whole = analysis.play("whole prompt", agent)
        played = [
            analysis.play(f"without principle {n + 1}", Agent(without(prompt, n), version))
            for n in range(len(prompt.principles))
        ]
        names = [f"principle {n} ({plain(p, 80)})" for n, p in enumerate(prompt.principles, 1)]
        if len(played) > 1:  # with one, leaving it out leaves out all
            bare = Agent(SystemPrompt(prompt.briefing), version)
            played.append(analysis.play("without any principle", bare))
            names.append("all principles")
        unit = all_in_unit_interval([one.cell for one in (whole, *played)])
        pairs = zip(names, played, strict=True)
        effects = differences([(name, whole.cell, one.cell) for name, one in pairs], unit)
        analysis.record([whole, *played], effects)
    return 0
