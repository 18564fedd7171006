"""`harness transfer`: what a prompt evolved in one run is worth to another model, or elsewhere.

The evolved prompt plays against the root prompt, both with the other model's own weights. On
another world, the principles are put under that world's own briefing.
"""

import argparse
from dataclasses import replace

from harness.config import Config
from harness.errors import UsageError
from harness.runs.reevaluation import Analysis, finished
from harness.runs.resolve import Asked, resolve
from harness.types import Agent, SystemPrompt
from leaderboards.stats.factorial import all_in_unit_interval, differences


def main(arguments: argparse.Namespace) -> int:
    """Play root and evolved prompt where they were not made."""
    if not (arguments.env or arguments.model):
        raise UsageError("Name another world or model: --env, --model, or both.")
    place = finished(arguments.run)
    with Analysis(place, "transfer", arguments) as analysis:
        request = _there(analysis.request, arguments)
        root, evolved = _prompts(analysis, request)
        if evolved == root:
            raise UsageError(f"The prompt of {place} never changed, so there is none to transfer.")
        analysis.elsewhere(request)
        before = analysis.play("root prompt", Agent(root, 0))
        after = analysis.play("evolved prompt", Agent(evolved, 0))
        unit = all_in_unit_interval([before.cell, after.cell])
        where = f"{request.env.name} with {request.model_url}"
        effects = differences([(f"evolved prompt on {where}", after.cell, before.cell)], unit)
        analysis.record([before, after], effects, env=request.env.name, model=request.model_url)
    return 0


def _there(home: Config, arguments: argparse.Namespace) -> Config:
    """The request for the other place: its own defaults, evaluated as the run was."""
    env = arguments.env or home.env.name
    asked = Asked(
        env=env,
        methods=("base",),
        model=arguments.model or home.model_url,
        seeds=(home.run.seed,),
        data_dir=arguments.data_dir,
    )
    request = resolve(asked).configs[0]
    request = replace(request, evaluation=home.evaluation)
    if arguments.env is None:
        run = replace(request.run, prompt=home.run.prompt, placement=home.run.placement)
        request = replace(request, env=home.env, world_table=home.world_table, run=run)
        request = replace(request, sampling=home.sampling)
    return request


def _prompts(analysis: Analysis, request: Config) -> tuple[SystemPrompt, SystemPrompt]:
    """Root and evolved prompt of the other place; a rewritten briefing moves along as it is."""
    made, there = analysis.agent.prompt, SystemPrompt(request.run.prompt or "")
    if made.briefing != analysis.root.briefing:
        return there, made
    return there, replace(made, briefing=there.briefing)
