"""`harness export`: a run's weights and prompt, for use elsewhere."""

import json

from harness.cli.arguments import Arguments
from harness.display.safe_console import say
from harness.errors import ModelError, UsageError
from harness.policies import kind_of, loaded_url, open_policy, require_trainable
from harness.policies.capabilities import Exportable
from harness.runs.request import read_request
from harness.runs.run_dirs import existing
from leaderboards.records.store import read_entry


def main(arguments: Arguments) -> int:
    """Write system_prompt.txt and, where weights were trained, the adapter or the merged model."""
    folder, to = arguments.run, arguments.to
    run_dirs = existing(folder)
    if len(run_dirs) > 1:
        raise UsageError(f"{folder} holds {len(run_dirs)} runs; name one, as {run_dirs[0]}.")
    if not (run_dirs[0] / "entry.json").exists():
        raise UsageError(f"{folder} is not finished; type harness resume {folder} first.")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"{to} is there already; give a new folder to --to.")
    entry = read_entry(run_dirs[0] / "entry.json")
    to.mkdir(parents=True, exist_ok=True)
    prompt = run_dirs[0] / "champion.txt"
    (to / "system_prompt.txt").write_text(prompt.read_text(encoding="utf-8"), encoding="utf-8")
    say(f"{to / 'system_prompt.txt'}: the selected system prompt")
    weights = run_dirs[0] / "checkpoint" / "policy"
    if entry.policy_version == 0:
        print("no weights were trained: the model is the one named in config.toml")
        return 0
    request = read_request(run_dirs[0])
    if kind_of(request.model_url) == "tinker" and entry.track.engine.startswith("tinker "):
        states = json.loads((weights / "policy.json").read_text(encoding="utf-8"))["states"]
        say(f"the weights stay at Tinker; type: tinker checkpoint download {states[-1][1]}")
        return 0
    policy = require_trainable(open_policy(loaded_url(request.model_url), request.model))
    policy.load(weights)
    if not isinstance(policy, Exportable):
        raise ModelError(
            f"{request.model_url} cannot write its weights; export works for hf: models."
        )
    policy.export(to, arguments.merged)
    say(f"{to}: the {'merged model' if arguments.merged else 'adapter'}")
    return 0
