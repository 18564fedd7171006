"""Ablations of a finished run's agent: 2 × 2, leave-one-out, and transfer of its prompt."""

from dataclasses import replace
from pathlib import Path

from harness.errors import UsageError
from harness.runs.analysis.reevaluation import Analysis, AnalysisResult, Reevaluated, without
from harness.runs.resolve import Requested, resolve
from harness.settings.config import Config
from harness.types import Agent, SystemPrompt
from leaderboards.boards.formatting import plain
from leaderboards.stats.factorial import all_in_unit_interval, differences, factorial


def two_by_two(analysis: Analysis) -> AnalysisResult:
    """The four cells {base, trained weights} × {initial, evolved prompt}.

    Two cells if the run changed only the weights or only the prompt.

    Raises:
        UsageError: The run changed neither.
    """
    agent, root = analysis.agent, analysis.root
    evolved, trained = agent.prompt != root, agent.policy_version > 0
    if not (evolved or trained):
        raise UsageError(
            f"{analysis.run_dir} changed neither weights nor prompt, so there are no cells to"
            " compare."
        )
    neither = analysis.evaluate("base weights, initial prompt", Agent(root, 0))
    if not trained:
        prompt = analysis.evaluate("base weights, evolved prompt", agent)
        return _difference("evolved prompt", prompt, neither)
    if not evolved:
        weights = analysis.evaluate("trained weights, initial prompt", agent)
        return _difference("trained weights", weights, neither)
    prompt = analysis.evaluate("base weights, evolved prompt", Agent(agent.prompt, 0))
    trained_root = Agent(root, agent.policy_version)
    weights = analysis.evaluate("trained weights, initial prompt", trained_root)
    both = analysis.evaluate("trained weights, evolved prompt", agent)
    cells = [neither, prompt, weights, both]
    unit = all_in_unit_interval([one.cell for one in cells])
    effects = factorial(neither.cell, prompt.cell, weights.cell, both.cell, unit)
    return AnalysisResult(cells, effects)


def _difference(name: str, changed: Reevaluated, before: Reevaluated) -> AnalysisResult:
    """The effect of one change, from two cells."""
    unit = all_in_unit_interval([before.cell, changed.cell])
    effects = differences([(name, changed.cell, before.cell)], unit)
    return AnalysisResult([before, changed], effects)


def leave_one_out(analysis: Analysis) -> AnalysisResult:
    """The whole prompt, the prompt without each principle in turn, and without all of them.

    Raises:
        UsageError: The prompt has no principles.
    """
    prompt, version = analysis.agent.prompt, analysis.agent.policy_version
    if not prompt.principles:
        raise UsageError(f"The prompt of {analysis.run_dir} has no principles to leave out.")
    whole = analysis.evaluate("whole prompt", analysis.agent)
    reduced = [
        analysis.evaluate(f"without principle {n + 1}", Agent(without(prompt, n), version))
        for n in range(len(prompt.principles))
    ]
    names = [f"principle {n} ({plain(p, 80)})" for n, p in enumerate(prompt.principles, 1)]
    if len(reduced) > 1:  # with one, leaving it out leaves out all
        bare = Agent(SystemPrompt(prompt.briefing), version)
        reduced.append(analysis.evaluate("without any principle", bare))
        names.append("all principles")
    unit = all_in_unit_interval([one.cell for one in (whole, *reduced)])
    pairs = zip(names, reduced, strict=True)
    effects = differences([(name, whole.cell, one.cell) for name, one in pairs], unit)
    return AnalysisResult([whole, *reduced], effects)


def transfer(
    analysis: Analysis, env: str | None, model: str | None, data_dir: Path | None
) -> AnalysisResult:
    """The initial and the evolved prompt in another environment or on another model.

    The other model has its own weights. In another environment, the principles follow that
    environment's own initial prompt.

    Raises:
        UsageError: The run never changed its prompt.
    """
    request = _request_there(analysis.request, env, model, data_dir)
    root, evolved = _prompts_there(analysis, request)
    if evolved == root:
        raise UsageError(
            f"The prompt of {analysis.run_dir} never changed, so there is none to transfer."
        )
    analysis.open_elsewhere(request)
    before = analysis.evaluate("initial prompt", Agent(root, 0))
    after = analysis.evaluate("evolved prompt", Agent(evolved, 0))
    there = f"{request.env.name} with {request.model_url}"
    result = _difference(f"evolved prompt on {there}", after, before)
    return replace(result, more={"env": request.env.name, "model": request.model_url})


def _request_there(
    home: Config, env: str | None, model: str | None, data_dir: Path | None
) -> Config:
    """The configuration for the other model or environment: its defaults, the run's evaluation."""
    requested = Requested(
        env=env or home.env.name,
        methods=("base",),
        model=model or home.model_url,
        seeds=(home.run.seed,),
        data_dir=data_dir,
    )
    request = resolve(requested).configs[0]
    request = replace(request, evaluation=home.evaluation)
    if env is None:
        run = replace(request.run, prompt=home.run.prompt, prompt_role=home.run.prompt_role)
        request = replace(request, env=home.env, env_options=home.env_options, run=run)
        request = replace(request, sampling=home.sampling)
    return request


def _prompts_there(analysis: Analysis, request: Config) -> tuple[SystemPrompt, SystemPrompt]:
    """The initial and the evolved prompt there; a rewritten initial prompt is used unchanged."""
    evolved, there = analysis.agent.prompt, SystemPrompt(request.run.prompt or "")
    if evolved.briefing != analysis.root.briefing:
        return there, evolved
    return there, replace(evolved, briefing=there.briefing)
