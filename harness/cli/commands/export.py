"""`harness export`: a run's weights and prompt, for use elsewhere."""

import json
from pathlib import Path

from harness.cli.arguments import Arguments
from harness.display.safe_console import say
from harness.errors import ModelError, UsageError
from harness.policies import kind_of, loaded_url, open_policy, require_trainable
from harness.policies.capabilities import Exportable
from harness.runs.request import read_request
from harness.runs.run_dirs import existing
from harness.settings.config import Config
from leaderboards.records.store import read_entry


def main(arguments: Arguments) -> int:
    """Write system_prompt.txt and, where weights were trained, the adapter or the merged model."""
    folder, to = arguments.run, arguments.to
    if arguments.stored_dtype and not arguments.merged:
        raise UsageError("--stored-dtype is of a merged model: give --merged too.")
    run_dirs = existing(folder)
    if len(run_dirs) > 1:
        raise UsageError(f"{folder} holds {len(run_dirs)} runs; name one, as {run_dirs[0]}.")
    if not (run_dirs[0] / "entry.json").exists():
        raise UsageError(f"{folder} is not finished; type harness resume {folder} first.")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"{to} is there already; give a new folder to --to.")
    entry, request = read_entry(run_dirs[0] / "entry.json"), read_request(run_dirs[0])
    prompt = (run_dirs[0] / "champion.txt").read_text(encoding="utf-8")
    weights, policy, left = run_dirs[0] / "checkpoint" / "policy", None, ""
    if entry.policy_version == 0:
        left = "no weights were trained: the model is the one named in config.toml"
    elif kind_of(request.model_url) == "tinker" and entry.track.engine.startswith("tinker "):
        states = json.loads((weights / "policy.json").read_text(encoding="utf-8"))["states"]
        left = f"the weights stay at Tinker; type: tinker checkpoint download {states[-1][1]}"
    else:
        policy = _exportable(request, weights)
    # Written once all of it was read, so that a refusal leaves no folder behind.
    to.mkdir(parents=True, exist_ok=True)
    (to / "system_prompt.txt").write_text(prompt, encoding="utf-8")
    say(f"{to / 'system_prompt.txt'}: the selected system prompt")
    if policy is None:
        say(left)
        return 0
    policy.export(to, arguments.merged, arguments.stored_dtype)
    say(f"{to}: the {'merged model' if arguments.merged else 'adapter'}")
    return 0


def _exportable(request: Config, weights: Path) -> Exportable:
    """The run's model with the weights that it was trained to."""
    policy = require_trainable(open_policy(loaded_url(request.model_url), request.model))
    policy.load(weights)
    if not isinstance(policy, Exportable):
        raise ModelError(
            f"{request.model_url} cannot write its weights; export works for hf: models."
        )
    return policy
