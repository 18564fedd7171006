"""`harness eval`: a model and prompt without training, or a finished run's final agent again."""

import json

from harness.cli.arguments import Arguments
from harness.cli.commands import run
from harness.display.safe_console import SafeConsole
from harness.errors import UsageError
from harness.runs.analysis.repeated_evaluation import evaluate_again
from harness.runs.request import read_request
from harness.runs.resolve import resolve
from harness.runs.run_dirs import existing, laid_out, new_folder
from harness.storage.lock import Lock


def main(arguments: Arguments) -> int:
    """Without a run: the `base` method. With one: an analysis record beside it, never an entry."""
    if arguments.run is not None:
        return _evaluate_run(arguments)
    resolved = resolve(run.request_from(arguments, ("base",)))
    folder = arguments.run_dir or new_folder(f"eval-{resolved.configs[0].env.name}")
    with laid_out(resolved.configs, folder) as run_dirs:
        return run.run_and_report(run_dirs, arguments.quiet, arguments.json)


# Options that a run has settled already; split, tasks and samples may be given anew.
_SETTLED = ("env", "model", "seeds", "preset", "config", "sets", "prompt", "episodes", "run_dir")


def _evaluate_run(arguments: Arguments) -> int:
    given = [name for name in _SETTLED if getattr(arguments, name)]
    if given:
        raise UsageError(
            f"A finished run is evaluated as it was made: leave out "
            f"--{given[0].replace('_', '-')}, or evaluate without naming a run."
        )
    run_dirs = existing(arguments.run)
    if len(run_dirs) > 1 or not (run_dirs[0] / "entry.json").exists():
        raise UsageError(f"{arguments.run} is not one finished run; name one that is.")
    run_dir = run_dirs[0]
    request = read_request(run_dir)
    with Lock(run_dir / "run.lock"):
        record, summary = evaluate_again(
            run_dir, arguments.split, arguments.test_tasks, arguments.samples
        )
    if arguments.json:
        print(json.dumps({**summary, "record": str(record)}))
        return 0
    mean = summary["mean_reward"]
    SafeConsole().print(
        f"{request.env.name} {arguments.split}: mean reward "
        f"{'—' if mean is None else format(mean, '.3f')}; written to {record}",
    )
    return 0
