"""`harness export`: a run's weights and prompt, for use elsewhere."""

import json
from pathlib import Path

from harness.cli.arguments import Arguments
from harness.display.safe_console import say
from harness.errors import ModelError, RunError, UsageError
from harness.policies import kind_of, loaded_url, open_policy, require_trainable
from harness.policies.capabilities import Exportable
from harness.runs.request import read_request
from harness.runs.run_dirs import existing
from harness.settings.config import Config
from harness.storage.checkpoint import UNREADABLE, advice, read_checkpoint
from harness.storage.final_agent import final_agent_of, load_final_weights
from harness.types import Agent
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
    agent, policy, left = final_agent_of(run_dirs[0]), None, ""
    if entry.policy_version == 0:
        left = "no weights were trained: the model is the one named in config.toml"
    elif kind_of(request.model_url) == "tinker" and entry.track.engine.startswith("tinker "):
        left = f"the weights stay at Tinker; type: tinker checkpoint download {_kept(run_dirs[0])}"
    else:
        policy = _exportable(request, run_dirs[0], agent, entry.adapter_hash)
    # Written once all of it was read, so that a refusal leaves no folder behind.
    to.mkdir(parents=True, exist_ok=True)
    (to / "system_prompt.txt").write_text(agent.prompt.text, encoding="utf-8")
    say(f"{to / 'system_prompt.txt'}: the selected system prompt")
    if policy is None:
        say(left)
        return 0
    policy.export(to, arguments.merged, arguments.stored_dtype)
    say(f"{to}: the {'merged model' if arguments.merged else 'adapter'}")
    return 0


def _kept(run_dir: Path) -> str:
    """The path of the run's last state at Tinker."""
    read_checkpoint(run_dir)
    path = run_dir / "checkpoint" / "policy" / "policy.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["states"][-1][1])
    except (OSError, *UNREADABLE) as error:
        raise RunError(
            f"{path} names no state at Tinker ({type(error).__name__}: {error}): {advice(run_dir)}"
        ) from error


def _exportable(request: Config, run_dir: Path, agent: Agent, adapter_hash: str) -> Exportable:
    """The run's model with the weights that it was trained to."""
    # Before the model is opened, which can take minutes.
    read_checkpoint(run_dir, quick=True)
    policy = require_trainable(open_policy(loaded_url(request.model_url), request.model))
    load_final_weights(policy, run_dir, agent, adapter_hash)
    if not isinstance(policy, Exportable):
        raise ModelError(
            f"{request.model_url} cannot write its weights; export works for hf: models."
        )
    return policy
