"""`harness env check`: check an environment against the rules that results depend on."""

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout

from rich.console import Console
from rich.table import Table
from rich.text import Text

from envs.checks.env_check import CheckResult, check
from envs.errors import EnvError, UnknownEnv, UnknownOption
from harness.cli.arguments import Arguments
from harness.cli.set_options import section_of
from harness.display.safe_console import SafeConsole
from harness.errors import DataError, UsageError
from harness.runs.envs import whole_name, whole_options
from harness.settings.config import from_tables

MARKS = {"passed": ("✓", "green"), "failed": ("✗", "red"), "not asked": ("–", "yellow")}


def main(arguments: Arguments) -> int:
    """Run every check; exit code 1 where one failed."""
    name = whole_name(arguments.name)
    console = SafeConsole(file=sys.stdout)
    try:
        with redirect_stdout(sys.stderr):  # what an environment prints is no part of the report
            found = list(_shown(check(name, _options(name, arguments)), console, arguments.json))
    except (UnknownEnv, UnknownOption) as error:
        raise UsageError(str(error)) from error
    except EnvError as error:
        raise DataError(str(error)) from error
    return finish(arguments.name, found, arguments.json)


def _options(name: str, arguments: Arguments) -> dict[str, object]:
    """The options given by --set env.KEY=VALUE and the data flags, with whole paths."""
    asked = from_tables({"env": section_of(arguments.sets, "env")})
    options: dict[str, object] = dict(whole_options(name, asked.env_options))
    if arguments.data_dir is not None:
        options["data_dir"] = str(arguments.data_dir.resolve())
    if arguments.accept_data:
        options["accept_data"] = True
    if asked.env.task_seed is not None:
        options["world_seed"] = asked.env.task_seed
    return options


def _shown(checks: Iterable[CheckResult], console: Console, quiet: bool) -> Iterable[CheckResult]:
    """Each check, printed as it ends."""
    for one in checks:
        if not quiet:
            console.print(row(one), highlight=False)
        yield one


def row(one: CheckResult) -> Table:
    """One line of the table of checks."""
    mark, style = MARKS[one.status]
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(width=1)
    table.add_column(width=26)
    table.add_column()
    table.add_row(Text(mark, style=style), Text(one.name), Text(one.said))
    return table


def finish(name: str, found: Sequence[CheckResult], as_json: bool) -> int:
    """The last line, or all of it as JSON; the exit code."""
    failed = [one.name for one in found if one.status == "failed"]
    if as_json:
        checks = [{"check": c.name, "status": c.status, "said": c.said} for c in found]
        print(json.dumps({"name": name, "passed": not failed, "checks": checks}))
        return int(bool(failed))
    passed = sum(one.status == "passed" for one in found)
    verdict = f"{len(failed)} failed ({', '.join(failed)})" if failed else "none failed"
    SafeConsole().print(Text(f"{name}: {passed} of {len(found)} passed, {verdict}"))
    return int(bool(failed))
