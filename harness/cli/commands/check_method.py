"""`harness method check`: check a method against the rules of the training loop.

It is trained for a few iterations on the embedded model and `calibration/both`, in a temporary
folder: once uninterrupted, once interrupted in the middle of an iteration and resumed.
"""

from harness.cli.arguments import Arguments
from harness.cli.commands.check_env import finish, row
from harness.display.safe_console import SafeConsole
from harness.runs.checks.method_check import check


def main(arguments: Arguments) -> int:
    """Run every check; exit code 1 where one failed."""
    console, found = SafeConsole(), []
    for one in check(arguments.name, arguments.sets):
        found.append(one)
        if not arguments.json:
            console.print(row(one), highlight=False)
    return finish(arguments.name, found, arguments.json)
