"""The verbs that ask what numbers mean: before a run, between runs, and within one."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

Read = Callable[[str], int]


class Verbs(Protocol):
    """What adds a verb."""

    def add(self, name: str, about: str, example: str, module: str) -> argparse.ArgumentParser:
        """A verb with one line of help and one example."""
        ...


def points(text: str) -> float:
    """A difference in points, as a reward: 5 is 0.05."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"points above 0 and at most 100, like 5; got {text!r}")
    return value / 100


def add_comparing(
    verbs: Verbs,
    request: Callable[[argparse.ArgumentParser], None],
    count: Callable[[int], Read],
    names: Callable[[str], tuple[str, ...]],
    seeds: Callable[[str], tuple[int, ...]],
) -> None:
    """Add them all; `request` adds the options of `run`."""
    _compare(verbs, seeds)
    _plan(verbs, request, names)
    _within_a_run(verbs, count)
    _curve(verbs)


def _compare(verbs: Verbs, seeds: Callable[[str], tuple[int, ...]]) -> None:
    compare = verbs.add(
        "compare",
        "differences between runs or methods, paired, with intervals",
        "harness compare base espl rl --in runs/my-run",
        "analysis.compare",
    )
    compare.add_argument(
        "sides",
        nargs="+",
        metavar="RUN|ENTRY|METHOD",
        help="the reference, then what is compared with it",
    )
    compare.add_argument(
        "--in",
        dest="within",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="where methods are looked up (default: runs/ and published results)",
    )
    compare.add_argument(
        "--seeds", type=seeds, default=(), help="only these training seeds, as 0,1 or 0-9"
    )
    compare.add_argument(
        "--interval",
        choices=["t", "bootstrap"],
        default="t",
        help="over seeds; a bootstrap only where it was found to cover",
    )
    compare.add_argument("--why-not", action="store_true", help="every field that differs")
    compare.add_argument("--json", action="store_true")


def _plan(
    verbs: Verbs,
    request: Callable[[argparse.ArgumentParser], None],
    names: Callable[[str], tuple[str, ...]],
) -> None:
    plan = verbs.add(
        "plan",
        "what a run would cost, and the smallest difference it could show",
        "harness plan --env arithmetic --method base,espl --seeds 0-4 --effect 10",
        "analysis.plan",
    )
    plan.add_argument("--method", type=names, default=(), help="one or more, by comma")
    plan.add_argument(
        "--prices",
        metavar="FILE",
        help="a dated TOML file of prices by model, or 'published' for the one that comes along",
    )
    plan.add_argument("--effect", type=points, help="the difference hoped for, in points")
    plan.add_argument(
        "--from",
        dest="known",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="runs to measure rates and spreads in (default: runs/ and published results)",
    )
    request(plan)


def _within_a_run(verbs: Verbs, count: Callable[[int], Read]) -> None:
    verbs_of_a_run = {
        "factorial": "what weights and prompt are worth apart: both, either and neither played",
        "attribute": "what each principle is worth: played without it",
        "transfer": "what an evolved prompt is worth to another model or on another world",
        "audit": "does a prompt repeat tasks or answers, do splits repeat each other?",
    }
    for name, about in verbs_of_a_run.items():
        option = " --model smollm2" if name == "transfer" else ""
        verb = verbs.add(name, about, f"harness {name} runs/my-run{option}", f"analysis.{name}")
        verb.add_argument("run", type=Path, help="one finished run")
        verb.add_argument(
            "--split",
            choices=["validation", "test"],
            default="validation",
            help="what is played (default: validation)",
        )
        verb.add_argument("--tasks", type=count(2), help="how many of the split (default: all)")
        verb.add_argument("--samples", type=count(1), help="samples per task (default: the run's)")
        verb.add_argument("--json", action="store_true")
        if name == "transfer":
            verb.add_argument("--env", help="another world")
            verb.add_argument("--model", help="another model")
            verb.add_argument("--data-dir", type=Path, help="a folder of data for that world")
        if name == "audit":
            verb.add_argument("--no-play", action="store_true", help="read only; play nothing")


def _curve(verbs: Verbs) -> None:
    curve = verbs.add(
        "curve",
        "score against budget: mean height, and what a target took",
        "harness curve runs/my-run --target 40",
        "analysis.curve",
    )
    curve.add_argument("paths", nargs="+", type=Path, metavar="RUN|FOLDER")
    curve.add_argument("--target", type=points, help="a score to reach, in per cent")
    curve.add_argument("--by", choices=["episodes", "tokens"], default="episodes")
    curve.add_argument("--json", action="store_true")
