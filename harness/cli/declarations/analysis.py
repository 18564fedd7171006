"""Commands that say what numbers mean: plan, compare, curve, and analyses of one run."""

from pathlib import Path
from typing import Annotated, Any, Literal

from harness.cli import options as o
from harness.cli.declare import ANALYSIS, PLANNING, command

Tasks = Annotated[
    Any,
    o.option(
        "--tasks", parser=o.count(2), metavar="N", help="how many tasks of the split (default: all)"
    ),
]
Samples = Annotated[
    Any,
    o.option(
        "--samples",
        parser=o.count(1),
        metavar="N",
        help="completions per task (default: the run's)",
    ),
]
Paths = list[Path] | None
REPEATED = "no effect here; accepted so that the options of `harness run` can be repeated"


@command(
    panel=ANALYSIS,
    module="analysis.compare",
    examples="""
    harness compare base espl rl --in runs/my-run
    harness compare runs/one runs/two --why-not
    """,
)
def compare(
    sides: Annotated[
        list[str],
        o.argument("RUN|ENTRY|METHOD", "first the reference, then what is compared with it"),
    ],
    within: Annotated[
        Paths,
        o.option(
            "--in",
            metavar="PATH",
            help="where methods are looked up (default: runs/ and the published results)",
        ),
    ] = None,
    seeds: Annotated[
        Any,
        o.option(
            "--seeds", parser=o.seeds, metavar="N,…", help="only these training seeds: 0,1 or 0-9"
        ),
    ] = (),
    interval: Annotated[
        Literal["t", "bootstrap"],
        o.option(
            "--interval",
            metavar="t|bootstrap",
            help="confidence interval over seeds (default: t); "
            "bootstrap only where its coverage was measured",
        ),
    ] = "t",
    why_not: Annotated[
        bool, o.option("--why-not", help="list every field of the Tracks that differs")
    ] = False,
    json: o.Json = False,
) -> None:
    """Estimate differences between runs or methods, paired, with intervals."""


@command(
    panel=PLANNING,
    module="analysis.plan",
    examples="""
    harness plan --env arithmetic --method base,espl --seeds 0-4 --effect 10
    harness plan --env beyond_aime --model openai:https://HOST/v1#MODEL --prices published
    """,
)
def plan(
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
    executor: o.Executor = None,
    address: o.Address = None,
    jobs: o.Jobs = None,
    effect: Annotated[
        Any,
        o.option(
            "--effect", parser=o.points, metavar="POINTS", help="the difference you hope to see"
        ),
    ] = None,
    prices: Annotated[
        str | None,
        o.option(
            "--prices",
            metavar="FILE",
            help="a dated TOML file of prices by model, or `published` for the one included",
        ),
    ] = None,
    known: Annotated[
        Paths,
        o.option(
            "--from",
            metavar="PATH",
            help="runs to measure speeds and variances in (default: runs/ and published results)",
        ),
    ] = None,
    run_dir: Annotated[
        Path | None, o.option("--run-dir", metavar="FOLDER", help=REPEATED, panel=o.OUTPUT)
    ] = None,
    quiet: Annotated[bool, o.option("--quiet", help=REPEATED, panel=o.OUTPUT)] = False,
    json: o.Json = False,
) -> None:
    """Estimate what a run would cost and the smallest difference it could show."""


@command(
    panel=ANALYSIS,
    module="analysis.curve",
    examples="""
    harness curve runs/my-run --target 40
    harness curve runs/one runs/two --by tokens
    """,
)
def curve(
    paths: Annotated[list[Path], o.argument("RUN|FOLDER", "runs, or folders of runs")],
    target: Annotated[
        Any,
        o.option(
            "--target", parser=o.points, metavar="POINTS", help="a score to reach, in per cent"
        ),
    ] = None,
    by: Annotated[
        Literal["episodes", "tokens"],
        o.option("--by", metavar="episodes|tokens", help="unit of the budget (default: episodes)"),
    ] = "episodes",
    json: o.Json = False,
) -> None:
    """Score against budget: area under the curve, and budget to reach a target."""


@command(
    panel=ANALYSIS,
    module="analysis.factorial",
    examples="harness factorial runs/my-run",
)
def factorial(
    run: o.FinishedRun,
    split: o.Split = "validation",
    tasks: Tasks = None,
    samples: Samples = None,
    json: o.Json = False,
) -> None:
    """2 × 2 ablation: evaluate trained and initial weights with evolved and initial prompt."""


@command(
    panel=ANALYSIS,
    module="analysis.attribute",
    examples="harness attribute runs/my-run --split test",
)
def attribute(
    run: o.FinishedRun,
    split: o.Split = "validation",
    tasks: Tasks = None,
    samples: Samples = None,
    json: o.Json = False,
) -> None:
    """Leave-one-out ablation: evaluate the selected prompt without each of its principles."""


@command(
    panel=ANALYSIS,
    module="analysis.transfer",
    examples="""
    harness transfer runs/my-run --model smollm2
    harness transfer runs/my-run --env beyond_aime
    """,
)
def transfer(
    run: o.FinishedRun,
    env: Annotated[
        str | None, o.option("--env", metavar="NAME", help="another environment")
    ] = None,
    model: Annotated[str | None, o.option("--model", metavar="URL", help="another model")] = None,
    data_dir: Annotated[
        Path | None,
        o.option("--data-dir", metavar="FOLDER", help="a folder of data for that environment"),
    ] = None,
    split: o.Split = "validation",
    tasks: Tasks = None,
    samples: Samples = None,
    json: o.Json = False,
) -> None:
    """Evaluate an evolved prompt with another model or in another environment."""


@command(
    panel=ANALYSIS,
    module="analysis.audit",
    examples="""
    harness audit runs/my-run
    harness audit runs/my-run --no-rollouts
    """,
)
def audit(
    run: o.FinishedRun,
    split: o.Split = "validation",
    tasks: Tasks = None,
    samples: Samples = None,
    no_play: Annotated[
        bool, o.option("--no-rollouts", help="only read texts; evaluate nothing")
    ] = False,
    json: o.Json = False,
) -> None:
    """Look for leakage: tasks or answers in the prompt, overlap between splits."""
