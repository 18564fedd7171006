"""`harness model check`: test that a model's backend keeps the promises of a policy."""

from rich.console import Console

from envs.checks.env_check import CheckResult
from harness import config
from harness.cli.arguments import Arguments
from harness.cli.commands.check_env import finish, row
from harness.config import Scalar
from harness.errors import UsageError
from harness.policies.checks import check


def main(arguments: Arguments) -> int:
    """Run every check; exit code 1 where one failed."""
    tables: dict[str, dict[str, Scalar]] = {}
    for text in arguments.sets:
        section, key, value = config.parse_set(text)
        tables.setdefault(section, {})[key] = value
    if set(tables) - {"model"}:
        raise UsageError("A model is checked by itself: give --set model.KEY=VALUE only.")
    console, found = Console(), []
    for one in check(arguments.name, config.from_tables(tables).model):
        found.append(CheckResult(one.name, one.status, one.found))
        if not arguments.json:
            console.print(row(found[-1]), highlight=False)
    return finish(arguments.name, found, arguments.json)
