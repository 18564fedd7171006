"""`harness env|method|model new`: a working template, with its test."""

from pathlib import Path

from rich.console import Console

from harness.cli.arguments import Arguments
from harness.runs.templates import check_name, next_steps, write


def main(arguments: Arguments) -> int:
    """Write both files, or neither; nothing is ever overwritten."""
    name, folder = arguments.name, arguments.dir
    check_name(name)
    written = write(arguments.verb, name, folder)
    console = Console(highlight=False)
    for path in written:
        console.print(f"written:   {path}", markup=False)
    if folder != Path():
        console.print(f"go there:  cd {folder}", markup=False, soft_wrap=True)
    steps = next_steps(arguments.verb, name, written[1])
    console.print(steps, markup=False, soft_wrap=True)
    return 0
