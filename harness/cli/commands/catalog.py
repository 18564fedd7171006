"""`harness env|method list|show` and `harness model list`: list and describe what can be chosen."""

import json
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

import agents
import envs
from envs.errors import EnvError, UnknownEnv
from envs.known_envs import FAMILIES, SCHEMES
from envs.resolution import members
from harness.cli.arguments import Arguments
from harness.cli.set_options import section_of
from harness.display.safe_console import SafeConsole, say
from harness.errors import UsageError
from harness.policies import known_models
from harness.runs.envs import env_options, whole_name
from harness.settings.build import build
from harness.settings.fields import describe, explained, shown
from leaderboards.boards.formatting import counted

_FLAGS = {
    "data_dir": "--data-dir FOLDER",
    "accept_data": "--accept-data",
    "task_seed": "--set env.task_seed=N",
}


def main(arguments: Arguments) -> int:
    """Print a list, or the description of one item."""
    if arguments.act == "show":
        if arguments.verb == "env":
            return _show_env(arguments.name)
        return _show_method(arguments.name, arguments.sets)
    rows: Mapping[str, str]
    if arguments.verb == "env":
        rows = _family(arguments.family) if arguments.family else _environments()
    elif arguments.verb == "model":
        rows = known_models()
    else:
        rows = _methods()
    if arguments.json:
        print(json.dumps(rows))
        return 0
    _table(("name", "description"), list(rows.items()))
    return 0


def _table(heads: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    SafeConsole().print(table)


def _environments() -> dict[str, str]:
    """A row per environment and per family; a package that fails to load is a row too."""
    rows = {}
    for name in envs.names():
        try:
            rows[name] = envs.describe(name).summary
        except Exception as error:  # any code may run when another package's environment is loaded
            rows[name] = f"cannot be loaded ({type(error).__name__}: {error})"
    for prefix, family in FAMILIES.items():
        rows[f"{prefix}/{family.option.upper()}"] = _about(prefix)
    for kind, (_, option) in SCHEMES.items():
        name = f"{kind}:{option.upper()}"
        rows[name] = envs.describe(name).summary
    rows["any Gymnasium id"] = "As it is where it speaks text, else through an adapter."
    return rows


def _about(prefix: str) -> str:
    try:
        return f"{counted(len(members(prefix)), 'environment')}: harness env list {prefix}"
    except EnvError as reason:
        return str(reason)


def _family(prefix: str) -> dict[str, str]:
    try:
        return {name: envs.describe(name).summary for name in members(prefix)}
    except UnknownEnv as error:
        raise UsageError(str(error)) from error
    except EnvError as error:
        raise UsageError(f"The environments of {prefix} cannot be listed: {error}") from error


def _methods() -> dict[str, str]:
    rows = {}
    for name in agents.names():
        try:
            rows[name] = agents.describe(name)
        except Exception as error:  # any code may run when another package's method is loaded
            rows[name] = f"cannot be loaded ({type(error).__name__}: {error})"
    return rows


def _show_env(name: str) -> int:
    if name in FAMILIES:
        _table(("name", "description"), list(_family(name).items()))
        return 0
    try:
        described, taken = envs.describe(whole_name(name)), _option_rows(whole_name(name))
    except EnvError as error:
        raise UsageError(str(error)) from error
    sizes = ", ".join(f"{split} {size}" for split, size in described.sizes.items())
    rows = [
        ("name", name),
        ("Gymnasium id", described.id),
        ("description", described.summary),
        ("tasks", sizes or "known once it is opened"),
        ("max new tokens", f"{described.reply_tokens} tokens"),
        ("publish texts", "yes" if described.redistributable else "no: ids and completions only"),
    ]
    if not taken:
        rows.append(("options", "none"))
    for file in described.files:
        rows.append(("file", f"{file.name}: {file.rows} lines, fields {', '.join(file.fields)}"))
        if file.hub:
            rows.append(("", f"or, from the Hub, {file.hub}"))
    if described.files:
        rows.append(("run", f"harness run --env {name} --data-dir FOLDER"))
    _table(("", ""), rows)
    if taken:
        print()
        _table(("option", "default", "meaning"), taken)
    return 0


def _option_rows(name: str) -> list[tuple[str, ...]]:
    """A row for each option: how it is set, its default, and its meaning."""
    rows: list[tuple[str, ...]] = []
    for key, setting in env_options(name).items():
        flag = _FLAGS.get(key, f"--set env.{key}=…")
        default = "must be given" if setting.required else setting.shown_default
        rows.append((flag, default, explained(setting)))
    return rows


def _show_method(name: str, sets: Sequence[str]) -> int:
    config = agents.config_type(name)
    say(agents.describe(name))
    chosen = build(config, section_of(sets, "method", [config]), "method")
    rows = [
        (f"method.{key}", shown(getattr(chosen, key)), explained(setting))
        for key, setting in describe(config).items()
    ]
    if rows:
        _table(("setting", "value", "meaning"), rows)
    for line in agents.card(name, chosen):
        say(line)
    return 0
