"""The words of the command line: verbs, options, help with examples."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from harness.cli.parser_analysis import add_comparing
from harness.errors import UsageError

_EXAMPLES = """examples:
  harness run                                       train and compare on the default world
  harness run --env beyond_aime                     a sensible model and preset for this machine
  harness run --env arithmetic --method base,rl,reflection,evolution,espl --seeds 0,1,2
  harness run --env beyond_aime --method espl --model hf:Qwen/Qwen3-4B --preset paper
  harness run --env arithmetic --method base,espl --seeds 0-9 --engine processes --jobs 4
  harness run --env arithmetic --method base,espl --seeds 0-9 --engine ray --address HOST:6379
  harness resume runs/2026-05-01-arithmetic         go on where a killed run stopped
  harness show runs/2026-05-01-arithmetic           prompts, ratings, curve, transcripts
  harness leaderboard                               all rows in runs/ and leaderboards/results
"""


class _Parser(argparse.ArgumentParser):
    """argparse whose errors carry a suggestion."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[:1].upper()}{message[1:]}; see {self.prog} --help.")


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _seeds(text: str) -> tuple[int, ...]:
    try:
        ends = [[int(end) for end in part.split("-", 1)] for part in _list(text)]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"seeds are whole numbers like 0,1,2 or 0-9; got {text!r}"
        ) from None
    seeds = tuple(seed for first, *last in ends for seed in range(first, (last or [first])[0] + 1))
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(f"seeds are different numbers from 0 on; got {text!r}")
    return seeds


def _count(minimum: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"a whole number from {minimum} on; got {text!r}")
        return int(text)

    return read


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no live view; the board is printed")
    parser.add_argument(
        "--json", action="store_true", help="one machine-readable summary on stdout"
    )


def _tracking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--track",
        type=_list,
        default=(),
        metavar="TRACKERS",
        help="tensorboard, wandb, trackio, by comma; all work offline",
    )


def _engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", metavar="ENGINE", help="serial, processes or ray: where it runs"
    )
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="a Ray cluster (default: a local one)"
    )
    parser.add_argument(
        "--jobs", type=_count(1), metavar="N", help="runs at once, for processes and ray"
    )


def _request(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env", help="a world: a name of `harness env list` or a Gymnasium id")
    parser.add_argument(
        "--model", help="pocket, smollm2, hf:ID, hf:FOLDER, tinker:ID, openai:URL#MODEL, scripted:…"
    )
    parser.add_argument("--seeds", "--seed", type=_seeds, default=(), help="0 or 0,1,2 or 0-9")
    parser.add_argument(
        "--preset",
        help="paper, released-code, gpu, laptop or pocket; paper-aime25, paper-hmmt, "
        "paper-beyond-aime and paper-search name world and model too",
    )
    parser.add_argument("--config", type=Path, help="a TOML file of settings")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="sets"
    )
    parser.add_argument("--prompt", type=Path, help="a file with the root prompt")
    parser.add_argument("--episodes", type=_count(0), help="training budget, in episodes")
    parser.add_argument(
        "--test-tasks", type=_count(1), help="how many test tasks (default: preset)"
    )
    parser.add_argument("--samples", type=_count(1), help="samples per test task")
    parser.add_argument("--data-dir", type=Path, help="a folder of JSONL instead of the Hub")
    parser.add_argument("--accept-data", action="store_true", help="data that differs: a new Track")
    parser.add_argument("--run-dir", type=Path, help="where the run is kept (default: runs/…)")
    _output(parser)


class _Verbs:
    """Adds verbs, each handled by the module of this package that it names."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)

    def add(self, name: str, about: str, example: str, module: str) -> argparse.ArgumentParser:
        """A verb with one line of help and one example."""
        sub = self._verbs.add_parser(
            name,
            help=about,
            description=about,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(module=module)
        return sub


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        "harness",
        description="Train and compare agents that improve by changing weights, prompt, or both.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = _Verbs(parser)
    _playing(verbs)
    _calibrating(verbs)
    _looking(verbs)
    add_comparing(verbs, _request, _count, _list, _seeds)
    _listing(verbs)
    return parser


def _playing(verbs: _Verbs) -> None:
    run = verbs.add(
        "run",
        "train, evaluate once, print the board",
        "harness run --env arithmetic --method base,espl --seeds 0,1,2",
        "run",
    )
    run.add_argument("--method", type=_list, default=(), help="one or more, by comma")
    _tracking(run)
    _engine(run)
    _request(run)
    evaluate = verbs.add(
        "eval",
        "evaluate a model and prompt without training, or a finished run again",
        "harness eval --env arithmetic --model smollm2 --prompt my_prompt.txt",
        "evaluate",
    )
    evaluate.add_argument("run", nargs="?", type=Path, help="a finished run: its champion")
    evaluate.add_argument(
        "--split",
        choices=["validation", "test"],
        default="validation",
        help="for a finished run; test writes a separate analysis record",
    )
    _request(evaluate)
    resume = verbs.add(
        "resume",
        "go on where a run stopped, or print the summary of a finished one",
        "harness resume runs/my-run",
        "resume",
    )
    resume.add_argument("run", type=Path)
    _tracking(resume)
    _engine(resume)
    _output(resume)


def _calibrating(verbs: _Verbs) -> None:
    calibrate = verbs.add(
        "calibrate",
        "run the methods on worlds with a known answer and judge the registered contrasts",
        "harness calibrate --seeds 0-9 --jobs 2",
        "calibrate",
    )
    calibrate.add_argument("--seeds", type=_seeds, default=(), help="world seeds (default: 0-9)")
    calibrate.add_argument("--worlds", type=_list, default=(), help="told,shown,both,neither")
    calibrate.add_argument("--jobs", type=_count(1), help="processes at once (default: one a core)")
    calibrate.add_argument("--episodes", type=_count(1), help="another budget: for trying out")
    calibrate.add_argument("--contrasts", type=Path, help="another file of registered contrasts")
    calibrate.add_argument("--run-dir", type=Path, help="where the runs are kept, and found again")
    calibrate.add_argument("--json", action="store_true", help="the report on stdout")


def _looking(verbs: _Verbs) -> None:
    show = verbs.add(
        "show",
        "prompts with ratings and lineage, learning curve, transcripts",
        "harness show runs/my-run --transcripts 3",
        "show",
    )
    show.add_argument("run", type=Path)
    show.add_argument("--transcripts", type=_count(0), default=2, help="how many to print")
    export = verbs.add(
        "export",
        "write a run's weights and prompt for use elsewhere",
        "harness export runs/my-run --to exported --merged",
        "export",
    )
    export.add_argument("run", type=Path)
    export.add_argument("--to", type=Path, required=True, help="a folder to create")
    export.add_argument("--merged", action="store_true", help="merge the adapter into the weights")
    board = verbs.add(
        "leaderboard",
        "print the boards of all entries found",
        "harness leaderboard runs --markdown",
        "leaderboard",
    )
    board.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="where entries are (default: runs/ and published results); "
        "`verify [DIR]` checks published entries, `add RUN…` publishes runs",
    )
    board.add_argument("--markdown", action="store_true")
    board.add_argument("--html", type=Path, metavar="FOLDER", help="write a static site there")
    board.add_argument("--csv", type=Path, metavar="FILE", help="write the rows as CSV")
    board.add_argument("--parquet", type=Path, metavar="FILE", help="write the rows as Parquet")
    board.add_argument("--json", action="store_true")
    board.add_argument("--data-dir", type=Path, help="verify: a folder of data to grade again with")
    board.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="NAME",
        help="verify, --html: a module, model or file that entries name and that may be opened",
    )
    board.add_argument("--to", type=Path, help="add: where entries are published")


def _listing(verbs: _Verbs) -> None:
    groups = {}
    for name, what in (("env", "worlds"), ("model", "models"), ("method", "methods")):
        about = f"list and describe {what}"
        about += "" if name == "model" else "; write one of your own and check it"
        group = verbs.add(name, about, f"harness {name} list", "catalog")
        acts = group.add_subparsers(dest="act", metavar="ACT", required=True, parser_class=_Parser)
        listing = acts.add_parser("list", help=f"all {what}")
        listing.add_argument("--json", action="store_true")
        if name != "model":
            showing = acts.add_parser("show", help="one of them")
            showing.add_argument("name")
            if name == "method":
                showing.add_argument("--set", action="append", default=[], dest="sets")
            groups[name] = acts
            if name == "env":
                listing.add_argument("family", nargs="?", help="only the worlds of this family")
    _making(groups["env"], "env", "a world")
    _making(groups["method"], "method", "a method")
    doctor = verbs.add(
        "doctor", "check graders, device, cache and data reachability", "harness doctor", "doctor"
    )
    doctor.add_argument("--data-dir", type=Path)
    doctor.add_argument("--json", action="store_true")


def _making(acts: "argparse._SubParsersAction[_Parser]", kind: str, a: str) -> None:
    new = acts.add_parser("new", help=f"write {a} of your own, with a test, into a folder")
    new.add_argument("name", help="of the file, and of what is in it: a Python name")
    new.add_argument("--dir", type=Path, default=Path(), help="where (default: here)")
    new.set_defaults(module="new", kind=kind)
    check = acts.add_parser("check", help=f"does {a} keep the rules that numbers depend on?")
    elsewhere = {"env": "module:Namespace/World-v0", "method": "module:SPEC"}[kind]
    check.add_argument("name", help=f"a name, or {elsewhere}")
    check.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="sets"
    )
    if kind == "env":
        check.add_argument("--data-dir", type=Path, help="a folder of data, where it reads one")
        check.add_argument("--accept-data", action="store_true", help="data that differs")
    check.add_argument("--json", action="store_true")
    check.set_defaults(module="check_env" if kind == "env" else "check_method")
