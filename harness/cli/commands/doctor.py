"""`harness doctor`: check graders, device, cache, vLLM and data on this machine."""

import json

from rich.text import Text

from harness.cli.arguments import Arguments
from harness.display.safe_console import SafeConsole
from harness.errors import SelfTestError
from harness.runs.checks.machine import MachineCheck, machine_checks


def main(arguments: Arguments) -> int:
    """Run every check; the exit code depends on graders alone, since data may not be wanted."""
    results: dict[str, MachineCheck] = {}
    console = SafeConsole()
    for name, (good, said) in machine_checks(arguments.data_dir):
        results[name] = good, said
        if not arguments.json:
            mark = Text("OK  ", style="green") if good else Text("WARN", style="yellow")
            console.print(mark, Text(f"{name}: {said}"))
    if arguments.json:
        print(
            json.dumps({name: {"ok": good, "said": said} for name, (good, said) in results.items()})
        )
    return 0 if results["graders"][0] else SelfTestError.exit_code
