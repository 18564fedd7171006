"""Fit a run into the memory that is free, before anything is sampled."""

from pathlib import Path

import agents
from harness.policies.base import Policy
from harness.policies.capabilities import fit_memory
from harness.runs.analysis.memory import episode_sizes
from harness.runs.analysis.prices import CHARACTERS_A_TOKEN, longest_prompt
from harness.settings.config import Config

_TASK_TOKENS = 512  # that a task's text is taken to have; environments are not asked, which costs


def fit_to_memory(request: Config, folder: Path, policy: Policy) -> tuple[str, ...]:
    """Let the model adapt its rows and micro-batches; a note for each change.

    Raises:
        ModelError: The longest reply does not fit; names the setting that helps.
    """
    characters = len(request.run.prompt or "")
    prompt = longest_prompt(request, characters / CHARACTERS_A_TOKEN + _TASK_TOKENS)
    # A finished run is opened again for analyses only.
    trains = agents.trains_weights(request.method) and not (folder / "entry.json").exists()
    return fit_memory(policy, episode_sizes(request, prompt, policy.context, trains))
