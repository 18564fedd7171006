"""`harness transfer`: the effect of an evolved prompt on another model or environment.

The evolved and the initial prompt are evaluated with the other model's own weights. On another
environment, the principles follow that environment's own initial prompt.
"""

import argparse
from dataclasses import replace

from harness.errors import UsageError
from harness.runs.reevaluation import Analysis, finished
from harness.runs.resolve import Requested, resolve
from harness.settings.config import Config
from harness.types import Agent, SystemPrompt
from leaderboards.stats.factorial import all_in_unit_interval, differences


def main(arguments: argparse.Namespace) -> int:
    """Evaluate the initial and the evolved prompt on another model or environment."""
    if not (arguments.env or arguments.model):
        raise UsageError("Name another environment or model: --env, --model, or both.")
    run_dir = finished(arguments.run)
    with Analysis(run_dir, "transfer", arguments) as analysis:
        request = _there(analysis.request, arguments)
        root, evolved = _prompts(analysis, request)
        if evolved == root:
            raise UsageError(
                f"The prompt of {run_dir} never changed, so there is none to transfer."
            )
        analysis.elsewhere(request)
        before = analysis.play("initial prompt", Agent(root, 0))
        after = analysis.play("evolved prompt", Agent(evolved, 0))
        unit = all_in_unit_interval([before.cell, after.cell])
        where = f"{request.env.name} with {request.model_url}"
        effects = differences([(f"evolved prompt on {where}", after.cell, before.cell)], unit)
        analysis.record([before, after], effects, env=request.env.name, model=request.model_url)
    return 0


def _there(home: Config, arguments: argparse.Namespace) -> Config:
    """The configuration for the other model or environment: its defaults, the run's evaluation."""
    env = arguments.env or home.env.name
    asked = Requested(
        env=env,
        methods=("base",),
        model=arguments.model or home.model_url,
        seeds=(home.run.seed,),
        data_dir=arguments.data_dir,
    )
    request = resolve(asked).configs[0]
    request = replace(request, evaluation=home.evaluation)
    if arguments.env is None:
        run = replace(request.run, prompt=home.run.prompt, prompt_role=home.run.prompt_role)
        request = replace(request, env=home.env, env_options=home.env_options, run=run)
        request = replace(request, sampling=home.sampling)
    return request


def _prompts(analysis: Analysis, request: Config) -> tuple[SystemPrompt, SystemPrompt]:
    """The initial and the evolved prompt there; a rewritten initial prompt is used unchanged."""
    made, there = analysis.agent.prompt, SystemPrompt(request.run.prompt or "")
    if made.briefing != analysis.root.briefing:
        return there, made
    return there, replace(made, briefing=there.briefing)
