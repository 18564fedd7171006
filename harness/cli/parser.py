"""The command line as a whole: every declared command, and errors that suggest what exists."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Annotated, Any

import typer
import typer.core

from harness.cli.aliases import renamed
from harness.cli.declare import Invocation, build
from harness.errors import UsageError, unknown

DECLARATIONS = ("training", "results", "analysis", "parts")
"""Modules of `harness.cli.declarations`."""

ABOUT = """Train and compare agents that improve by changing weights, prompt, or both.

Exit codes: 0 done, 1 a check failed, 2 usage, 3 data, 4 model or memory, 5 run or entry, 6 grader,
7 cluster, 130 stopped and resumable (docs/exit_codes.md)."""
EXAMPLES = """
harness run
harness run --env beyond_aime
harness run --env arithmetic --method base,espl --seeds 0,1,2
harness resume runs/2026-05-01-arithmetic
harness show runs/2026-05-01-arithmetic
harness leaderboard
harness --install-completion
"""


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", metavar="", help="Print the version.")
    ] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed  # slow to load, rarely needed

        print(f"harness {installed('espl-harness')}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def command_line() -> typer.core.TyperGroup:
    """Every declared command as one tree, with its help."""
    for module in DECLARATIONS:
        import_module(f"harness.cli.declarations.{module}")
    tree = typer.main.get_command(build(_root, ABOUT, EXAMPLES))
    assert isinstance(tree, typer.core.TyperGroup)
    return tree


def parse(arguments: Sequence[str]) -> Invocation | None:
    """The command to run; None where help, version or completion was printed instead.

    Raises:
        UsageError: It cannot be understood; one sentence, with a suggestion where one is near.
    """
    _refuse_empty(arguments)
    try:
        found = command_line().main(renamed(arguments), prog_name="harness", standalone_mode=False)
    except typer.TyperException as error:
        raise _usage_error(error) from error
    return found if isinstance(found, Invocation) else None


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse empty words, such as a script's unset variable: the default is not what was meant."""
    for before, word in pairwise(("", *arguments)):
        if not word.strip():
            what = f"The value of {before}" if before.startswith("-") else "An argument"
            raise UsageError(f"{what} is empty; give one, or leave it out.")
        if word.startswith("--") and word.endswith("=") and word.count("=") == 1:
            raise UsageError(f"The value of {word[:-1]} is empty; give one, or leave it out.")


def _usage_error(error: typer.TyperException) -> UsageError:
    """Typer's error as one sentence; its classes are private, so it is known by what it carries."""
    carried: Mapping[str, Any] = vars(error)
    context = carried.get("ctx")
    path = context.command_path if context else "harness"
    if context and "possibilities" in carried:
        flags = (flag for param in context.command.get_params(context) for flag in param.opts)
        known = [flag for flag in flags if flag.startswith("--")]
        return unknown(f"option of {path}", str(carried["option_name"]), known)
    said = error.format_message().replace("Value error, ", "").rstrip(".")
    return UsageError(f"{said}; see {path} --help.")
