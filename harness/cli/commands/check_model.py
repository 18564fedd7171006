"""`harness model check`: test that a model's backend keeps the promises of a policy."""

from envs.checks.env_check import CheckResult
from harness.cli.arguments import Arguments
from harness.cli.commands.check_env import finish, row
from harness.cli.set_options import section_of
from harness.display.safe_console import SafeConsole
from harness.policies.checks import check
from harness.settings.build import build
from harness.settings.model import ModelSettings


def main(arguments: Arguments) -> int:
    """Run every check; exit code 1 where one failed."""
    settings = build(ModelSettings, section_of(arguments.sets, "model"), "model")
    console, found = SafeConsole(), []
    for one in check(arguments.name, settings):
        found.append(CheckResult(one.name, one.status, one.found))
        if not arguments.json:
            console.print(row(found[-1]), highlight=False)
    return finish(arguments.name, found, arguments.json)
