"""`harness env|model|method list|show`: what there is."""

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields

from rich.console import Console
from rich.table import Table
from rich.text import Text

import agents
import envs
from envs.adapters.gymnasium_env import OPTIONS
from envs.errors import EnvError, UnknownEnv
from envs.known_envs import FAMILIES, SCHEMES
from envs.registry import options
from envs.resolution import members
from harness import config as configs
from harness.cli.arguments import Arguments
from harness.errors import UsageError
from harness.policies import known_models
from harness.runs.envs import whole_name

_FLAGS = {
    "data_dir": "--data-dir FOLDER",
    "accept_data": "--accept-data",
    "world_seed": "--set env.world_seed=N",
}


def main(arguments: Arguments) -> int:
    """Print a list, or all that is known of one thing."""
    if arguments.act == "show":
        if arguments.verb == "env":
            return _show_env(arguments.name)
        return _show_method(arguments.name, arguments.sets)
    rows: Mapping[str, str]
    if arguments.verb == "env":
        rows = _family(arguments.family) if arguments.family else _worlds()
    elif arguments.verb == "model":
        rows = known_models()
    else:
        rows = _methods()
    if arguments.json:
        print(json.dumps(rows))
        return 0
    _table(("name", "what it is"), list(rows.items()))
    return 0


def _table(heads: Sequence[str], rows: Sequence[tuple[str, str]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _worlds() -> dict[str, str]:
    """One row a world, one a family; somebody's broken package is a row that says so."""
    rows = {}
    for name in envs.names():
        try:
            rows[name] = envs.describe(name).summary
        except Exception as error:  # any code may run when another package's world is loaded
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
        return f"{len(members(prefix))} worlds: harness env list {prefix}"
    except EnvError as reason:
        return str(reason)


def _family(prefix: str) -> dict[str, str]:
    try:
        return {name: envs.describe(name).summary for name in members(prefix)}
    except UnknownEnv as error:
        raise UsageError(str(error)) from error
    except EnvError as error:
        raise UsageError(f"The worlds of {prefix} cannot be listed: {error}") from error


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
        _table(("name", "what it is"), list(_family(name).items()))
        return 0
    try:
        described, taken = envs.describe(whole_name(name)), options(whole_name(name))
    except EnvError as error:
        raise UsageError(str(error)) from error
    sizes = ", ".join(f"{split} {size}" for split, size in described.sizes.items())
    rows = [
        ("name", name),
        ("Gymnasium id", described.id),
        ("what it is", described.summary),
        ("tasks", sizes or "known once it is made"),
        ("reply limit", f"{described.reply_tokens} tokens"),
        ("publish texts", "yes" if described.redistributable else "no: ids and replies only"),
    ]
    rows += [("option", _option(key, value)) for key, value in taken.items()] or [
        ("options", "none")
    ]
    for file in described.files:
        rows.append(("file", f"{file.name}: {file.rows} lines, fields {', '.join(file.fields)}"))
        if file.hub:
            rows.append(("", f"or, from the Hub, {file.hub}"))
    if described.files:
        rows.append(("run", f"harness run --env {name} --data-dir FOLDER"))
    _table(("", ""), rows)
    return 0


def _option(key: str, default: object) -> str:
    """How an option is set, and what holds where it is not."""
    if key in _FLAGS:
        return _FLAGS[key]
    if default is inspect.Parameter.empty:
        return f"--set world.{key}=…  (must be given)"
    own = "" if default is not None else "unset"
    if key in OPTIONS and default in ("", 0):
        own = "unset"
    return f"--set world.{key}=…  (default: {own or _toml(default)})"


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _show_method(name: str, sets: Sequence[str]) -> int:
    config = agents.config_type(name)
    print(agents.describe(name))
    given = {}
    for text in sets:
        section, key, value = configs.parse_set(text)
        if section != "method":
            raise UsageError(f"Only settings of the method can be shown; write method.{key}=….")
        given[key] = value
    settings = configs.build(config, given, "method")
    rows = [(f"method.{f.name}", repr(getattr(settings, f.name))) for f in fields(config)]
    if rows:
        _table(("setting", "value"), rows)
    for line in agents.card(name, settings):
        print(line)
    return 0
