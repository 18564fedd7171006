"""Commands that print or write what runs have come to: show, export, leaderboard."""

from pathlib import Path
from typing import Annotated, Any

from harness.cli import options as o
from harness.cli.declare import RESULTS, command


@command(
    panel=RESULTS,
    module="show",
    examples="""
    harness show
    harness show runs/my-run
    harness show runs/my-run --transcripts 10
    """,
)
def show(
    run: Annotated[
        Path | None,
        o.argument("RUN", "a run directory, or a folder of runs (default: the latest in runs/)"),
    ] = None,
    transcripts: Annotated[
        Any,
        o.option(
            "--transcripts",
            parser=o.count(0),
            metavar="N",
            help="how many transcripts to print (default: 2)",
        ),
    ] = 2,
    json: o.Json = False,
) -> None:
    """Print score, budget, prompts with ratings and lineage, learning curve and transcripts."""


@command(
    panel=RESULTS,
    module="watch",
    examples="""
    harness watch
    harness watch runs/my-experiment
    """,
)
def watch(
    run: Annotated[
        Path | None,
        o.argument("RUN", "a run directory, or a folder of runs (default: the latest in runs/)"),
    ] = None,
    once: Annotated[bool, o.option("--once", help="print how far they are, and end")] = False,
) -> None:
    """Follow runs under way: score, iteration, reward, tokens a second, time left, prompts."""


@command(
    panel=RESULTS,
    module="export",
    examples="""
    harness export runs/my-run --to exported
    harness export runs/my-run --to exported --merged
    """,
)
def export(
    run: o.Run,
    to: Annotated[Path, o.option("--to", metavar="FOLDER", help="a folder to create")],
    merged: Annotated[
        bool, o.option("--merged", help="merge the LoRA adapter into the weights")
    ] = False,
    stored_dtype: Annotated[
        bool,
        o.option(
            "--stored-dtype",
            help="write the merged weights in the checkpoint's dtype, which rounds them, instead "
            "of float32",
        ),
    ] = False,
) -> None:
    """Write a run's weights and prompt for use elsewhere."""


@command(
    name="export-data",
    panel=RESULTS,
    module="export_data",
    examples="""
    harness export-data runs/my-run --to tables
    harness export-data --to tables
    """,
)
def export_data(
    to: Annotated[Path, o.option("--to", metavar="FOLDER", help="where the files are written")],
    paths: Annotated[
        list[Path] | None,
        o.argument(
            "PATH",
            "folders or files with entries (default: runs/ and the published results)",
        ),
    ] = None,
) -> None:
    """Write rows, runs, outcomes, learning curves and prompts as Parquet files."""


@command(
    panel=RESULTS,
    module="leaderboard",
    examples="""
    harness leaderboard
    harness leaderboard runs --markdown
    harness leaderboard runs --html site
    harness leaderboard add runs/my-run
    harness leaderboard verify
    """,
)
def leaderboard(
    paths: Annotated[
        list[Path] | None,
        o.argument(
            "PATH",
            "folders or files with entries (default: runs/ and the published results); "
            "`verify` and a folder checks published entries, `add` and runs publishes them",
        ),
    ] = None,
    markdown: Annotated[
        bool, o.option("--markdown", help="print Markdown tables", panel=o.OUTPUT)
    ] = False,
    html: Annotated[
        Path | None,
        o.option("--html", metavar="FOLDER", help="write a static site there", panel=o.OUTPUT),
    ] = None,
    csv: Annotated[
        Path | None, o.option("--csv", metavar="FILE", help="write rows as CSV", panel=o.OUTPUT)
    ] = None,
    parquet: Annotated[
        Path | None,
        o.option("--parquet", metavar="FILE", help="write rows as Parquet", panel=o.OUTPUT),
    ] = None,
    json: o.Json = False,
    data_dir: Annotated[
        Path | None,
        o.option("--data-dir", metavar="FOLDER", help="verify: data to grade again with"),
    ] = None,
    trust: Annotated[
        list[str] | None,
        o.option(
            "--trust",
            metavar="NAME",
            help="verify, --html: a module, model or file named by entries that may be opened",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        o.option(
            "--to",
            metavar="FOLDER",
            help="add: where entries are published; hashes and leaderboards are written beside it",
        ),
    ] = None,
    second_run: o.SecondRun = False,
) -> None:
    """Print, publish or verify leaderboards."""
