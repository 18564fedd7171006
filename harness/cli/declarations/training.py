"""Commands that train and evaluate: run, eval, resume, calibrate."""

from pathlib import Path
from typing import Annotated, Any

from harness.cli import options as o
from harness.cli.declare import TRAINING, command


@command(
    panel=TRAINING,
    module="run",
    examples="""
    harness run
    harness run --env beyond_aime --method espl --model hf:Qwen/Qwen3-4B --preset paper
    harness run --env arithmetic --method base,rl,reflection,evolution,espl --seeds 0,1,2
    harness run --env arithmetic --method base,espl --seeds 0-9 --executor processes --jobs 4
    harness run --env arithmetic --method base,espl --executor ray --address HOST:6379
    """,
)
def run(
    method: o.Methods = (),
    env: o.Env = None,
    model: o.Model = None,
    seeds: o.Seeds = (),
    preset: o.Preset = None,
    config: o.ConfigFile = None,
    sets: o.Sets = None,
    prompt: o.PromptFile = None,
    data_dir: o.DataDir = None,
    accept_data: o.AcceptData = False,
    episodes: o.Episodes = None,
    test_tasks: o.TestTasks = None,
    samples: o.Samples = None,
    max_cost: o.MaxCost = None,
    max_hours: o.MaxHours = None,
    executor: o.Executor = None,
    address: o.Address = None,
    jobs: o.Jobs = None,
    run_dir: o.RunDir = None,
    tracker: o.Trackers = (),
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Train every method with every seed, evaluate each once, print the leaderboard."""


@command(
    name="eval",
    panel=TRAINING,
    module="evaluate",
    examples="""
    harness eval --env arithmetic --model smollm2 --prompt my_prompt.txt
    harness eval runs/my-run --split test
    """,
)
def evaluate(
    run: Annotated[
        Path | None, o.argument("RUN", "a finished run: its final agent is evaluated")
    ] = None,
    split: Annotated[
        o.SplitName,
        o.option(
            "--split",
            help="of a finished run: validation (default) or test, "
            "which writes an analysis record of its own",
        ),
    ] = "validation",
    env: o.Env = None,
    model: o.Model = None,
    seeds: o.Seeds = (),
    preset: o.Preset = None,
    config: o.ConfigFile = None,
    sets: o.Sets = None,
    prompt: o.PromptFile = None,
    data_dir: o.DataDir = None,
    accept_data: o.AcceptData = False,
    episodes: o.Episodes = None,
    test_tasks: o.TestTasks = None,
    samples: o.Samples = None,
    run_dir: o.RunDir = None,
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Evaluate a model and prompt without training, or a finished run again."""


@command(
    panel=TRAINING,
    module="resume",
    examples="""
    harness resume runs/my-run
    harness resume runs/my-run --executor processes --jobs 2
    harness resume runs/my-run --set model.micro_batch_tokens=4096
    harness resume runs/my-run --change method.learning_rate=1e-5
    """,
)
def resume(
    run: o.Run,
    sets: o.ExecutionSets = None,
    changes: o.Changes = None,
    executor: o.Executor = None,
    address: o.Address = None,
    jobs: o.Jobs = None,
    max_cost: o.MaxCost = None,
    max_hours: o.MaxHours = None,
    tracker: o.Trackers = (),
    quiet: o.Quiet = False,
    json: o.Json = False,
) -> None:
    """Continue a stopped run from its last checkpoint, or print a finished one's summary."""


@command(
    panel=TRAINING,
    module="calibrate",
    examples="""
    harness calibrate --seeds 0-9 --jobs 2
    harness calibrate --envs told,shown --seeds 0,1
    """,
)
def calibrate(
    seeds: Annotated[
        Any,
        o.option("--seeds", parser=o.seeds, metavar="N,…", help="environment seeds (default: 0-9)"),
    ] = (),
    envs: Annotated[
        Any,
        o.option(
            "--envs",
            parser=o.names,
            metavar="NAME,…",
            help="told (knowledge is missing), shown (skill is missing), both, "
            "neither (nothing to learn); default: all",
        ),
    ] = (),
    episodes: Annotated[
        Any,
        o.option(
            "--episodes", parser=o.count(1), metavar="N", help="another budget, for a quick try"
        ),
    ] = None,
    contrasts: Annotated[
        Path | None,
        o.option("--contrasts", metavar="FILE", help="another file of registered contrasts"),
    ] = None,
    jobs: Annotated[
        Any,
        o.option(
            "--jobs", parser=o.count(1), metavar="N", help="processes at once (default: one a core)"
        ),
    ] = None,
    run_dir: Annotated[
        Path | None,
        o.option("--run-dir", metavar="FOLDER", help="where the runs are stored and found again"),
    ] = None,
    json: o.Json = False,
) -> None:
    """Run the methods on environments with a known answer and test registered contrasts."""
