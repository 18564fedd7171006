"""Arguments and options of the command line, as types that signatures of commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

REQUEST = "What to run"
BUDGET = "How much"
EXECUTION = "Where it runs"
OUTPUT = "Output"

Names = tuple[str, ...]
_MAX_SEEDS = 1_000  # of one command; each becomes a run of its own


def names(text: str | Names) -> Names:
    """Names separated by commas."""
    if not isinstance(text, str):  # the default, which Typer reads too
        return text
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:  # an empty variable of a script, say: the default is not what was meant
        raise typer.BadParameter(f"one name or more, by comma; got {text!r}")
    return found


def seeds(text: str | tuple[int, ...]) -> tuple[int, ...]:
    """Different whole numbers from 0 on: 0,1,2 or 0-9, or both by comma."""
    if not isinstance(text, str):
        return text
    try:
        ends = [[int(end) for end in part.split("-", 1)] for part in names(text)]
    except ValueError:
        raise typer.BadParameter(
            f"seeds are whole numbers like 0,1,2 or 0-9; got {text!r}"
        ) from None
    # Counted before they are listed: a range may be longer than memory.
    if sum(max(0, (last or [first])[0] - first) + 1 for first, *last in ends) > _MAX_SEEDS:
        raise typer.BadParameter(f"at most {_MAX_SEEDS:,} seeds at once; got {text!r}")
    found = tuple(seed for first, *last in ends for seed in range(first, (last or [first])[0] + 1))
    if not found or min(found) < 0 or len(set(found)) != len(found):
        raise typer.BadParameter(f"seeds are different numbers from 0 on; got {text!r}")
    return found


def count(minimum: int) -> Callable[[str | int], int]:
    """A parser of whole numbers from `minimum` on."""

    def read(text: str | int) -> int:
        if isinstance(text, int):
            return text
        # Not `isdigit`, which lets through what `int` refuses, such as ².
        if not text.isdecimal() or int(text) < minimum:
            raise typer.BadParameter(f"a whole number from {minimum} on; got {text!r}")
        return int(text)

    return read


def amount(text: str | float) -> float:
    """An amount of money or time; 0 sets no limit."""
    if not isinstance(text, str):
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise typer.BadParameter(f"a number from 0 on, like 2.5; got {text!r}")
    return value


def points(text: str | float) -> float:
    """A difference in points, as a reward: 5 is 0.05."""
    if not isinstance(text, str):
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 100:
        raise typer.BadParameter(f"points above 0 and at most 100, like 5; got {text!r}")
    return value / 100


def option(
    *flags: str,
    help: str,
    metavar: str = "",
    parser: Callable[[Any], object] | None = None,
    panel: str | None = None,
) -> Any:
    """An option whose default its help text tells, where that matters."""
    return typer.Option(
        *flags,
        help=help,
        metavar=metavar,
        parser=parser,
        rich_help_panel=panel,
        show_default=False,
    )


def argument(metavar: str, help: str) -> Any:
    """A positional argument."""
    return typer.Argument(metavar=metavar, help=help, show_default=False)


Run = Annotated[Path, argument("RUN", "a run directory")]
Runs = Annotated[Path, argument("RUN", "a run directory, or a folder of runs")]
FinishedRun = Annotated[Path, argument("RUN", "one finished run")]
Json = Annotated[bool, option("--json", help="print one JSON object on stdout", panel=OUTPUT)]
Quiet = Annotated[
    bool, option("--quiet", help="no live view; only the leaderboard is printed", panel=OUTPUT)
]
RunDir = Annotated[
    Path | None,
    option(
        "--run-dir",
        metavar="FOLDER",
        help="where the run is stored (default: runs/…)",
        panel=OUTPUT,
    ),
]
Trackers = Annotated[
    Any,
    option(
        "--tracker",
        parser=names,
        metavar="NAME,…",
        help="experiment trackers by comma: tensorboard, wandb, trackio, mlflow, swanlab, "
        "comet_ml; all work offline",
        panel=OUTPUT,
    ),
]
Methods = Annotated[
    Any,
    option(
        "--method",
        parser=names,
        metavar="NAME,…",
        help="one method or more, by comma",
        panel=REQUEST,
    ),
]
Env = Annotated[
    str | None,
    option(
        "--env",
        metavar="NAME",
        help="an environment: a name of `harness env list` or a Gymnasium id",
        panel=REQUEST,
    ),
]
Model = Annotated[
    str | None,
    option(
        "--model",
        metavar="URL",
        help="pocket, smollm2, hf:ID, hf:FOLDER, vllm:ID, tinker:ID, openai:URL#MODEL, scripted:…",
        panel=REQUEST,
    ),
]
Seeds = Annotated[
    Any,
    option(
        "--seeds",
        "--seed",
        parser=seeds,
        metavar="N,…",
        help="training seeds: 0 or 0,1,2 or 0-9",
        panel=REQUEST,
    ),
]
Preset = Annotated[
    str | None,
    option(
        "--preset",
        metavar="NAME",
        help="paper, released-code, gpu, laptop or pocket; paper-aime25, paper-hmmt, "
        "paper-beyond-aime and paper-search name environment and model too",
        panel=REQUEST,
    ),
]
ConfigFile = Annotated[
    Path | None, option("--config", metavar="FILE", help="a TOML file of settings", panel=REQUEST)
]
Sets = Annotated[
    list[str] | None,
    option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="one setting; may be given several times",
        panel=REQUEST,
    ),
]
ExecutionSets = Annotated[
    list[str] | None,
    option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="one setting of how the run is executed, like model.batch_rows=8",
        panel=EXECUTION,
    ),
]
Changes = Annotated[
    list[str] | None,
    option(
        "--change",
        metavar="SECTION.KEY[=VALUE]",
        help="a measured setting that may differ from the run's beginning; the entry records it, "
        "and no ranking counts the run",
        panel=EXECUTION,
    ),
]
SecondRun = Annotated[
    bool,
    option(
        "--second-run",
        help="add: publish a second run of a seed too; leaderboards count the earlier one",
    ),
]
PromptFile = Annotated[
    Path | None,
    option("--prompt", metavar="FILE", help="a file with the initial system prompt", panel=REQUEST),
]
Episodes = Annotated[
    Any,
    option(
        "--episodes",
        parser=count(0),
        metavar="N",
        help="training budget, in episodes",
        panel=BUDGET,
    ),
]
TestTasks = Annotated[
    Any,
    option(
        "--test-tasks",
        parser=count(1),
        metavar="N",
        help="how many test tasks (default: the preset's)",
        panel=BUDGET,
    ),
]
Samples = Annotated[
    Any,
    option(
        "--samples", parser=count(1), metavar="N", help="completions per test task", panel=BUDGET
    ),
]
DataDir = Annotated[
    Path | None,
    option(
        "--data-dir",
        metavar="FOLDER",
        help="a folder of JSONL files instead of the Hugging Face Hub",
        panel=REQUEST,
    ),
]
AcceptData = Annotated[
    bool,
    option(
        "--accept-data",
        help="take data that differs from what is pinned: results get a Track of their own",
        panel=REQUEST,
    ),
]
Executor = Annotated[
    str | None,
    option("--executor", metavar="NAME", help="serial, processes or ray", panel=EXECUTION),
]
Address = Annotated[
    str | None,
    option(
        "--address",
        metavar="HOST:PORT",
        help="a Ray cluster (default: a local one)",
        panel=EXECUTION,
    ),
]
Jobs = Annotated[
    Any,
    option(
        "--jobs",
        parser=count(1),
        metavar="N",
        help="runs at once, for processes and ray",
        panel=EXECUTION,
    ),
]
MaxCost = Annotated[
    Any,
    option(
        "--max-cost",
        parser=amount,
        metavar="AMOUNT",
        help="stop each run, resumably, before the iteration that would cost more in all, at "
        "prices.* of sampled tokens",
        panel=BUDGET,
    ),
]
MaxHours = Annotated[
    Any,
    option(
        "--max-hours",
        parser=amount,
        metavar="HOURS",
        help="stop each run, resumably, before the iteration that would take longer; a resume "
        "begins anew",
        panel=BUDGET,
    ),
]
SplitName = Literal["validation", "test"]
Split = Annotated[
    SplitName,
    option(
        "--split",
        metavar="validation|test",
        help="which split is evaluated (default: validation)",
    ),
]
