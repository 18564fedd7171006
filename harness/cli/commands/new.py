"""`harness env|method|model new`: a working template, with its test."""

from pathlib import Path

from harness.cli.arguments import Arguments
from harness.display.safe_console import SafeConsole
from harness.runs.templates import check_name, next_steps, write


def main(arguments: Arguments) -> int:
    """Write both files, or neither; nothing is ever overwritten."""
    name, folder = arguments.name, arguments.dir
    check_name(name)
    written = write(arguments.verb, name, folder)
    console = SafeConsole(highlight=False)
    for path in written:
        console.print(f"written:   {path}")
    if folder != Path():
        console.print(f"go there:  cd {folder}", soft_wrap=True)
    steps = next_steps(arguments.verb, name, written[1])
    console.print(steps, soft_wrap=True)
    return 0
