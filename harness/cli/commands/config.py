"""`harness config`: every setting with its meaning, choices, default and class."""

import json
import sys
from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

import agents
from envs.errors import EnvError
from envs.resolution import entry_point_envs
from harness.cli.arguments import Arguments
from harness.display.safe_console import SafeConsole
from harness.errors import HarnessError, UsageError, unknown
from harness.runs.envs import adapter_options, built_in_options, env_options, whole_name
from harness.settings.catalog import NamedOptions, catalog, markdown, schema
from harness.settings.fields import Setting


def main(arguments: Arguments) -> int:
    """Print the list, one key, the JSON schema or the page for the documentation."""
    if arguments.schema:
        json.dump(schema(_methods(), _schema_envs()), sys.stdout, indent=2, allow_nan=False)
        print()
    elif arguments.markdown:
        sys.stdout.write(markdown(_methods(), [*built_in_options(), adapter_options()]))
    else:
        found = _found(arguments)
        if arguments.key:
            _print_one(*_one(arguments.key, found))
        elif arguments.json:
            print(json.dumps([_record(key, setting) for key, setting in found.items()]))
        else:
            _print_all(found)
    return 0


def _methods() -> dict[str, type]:
    """The settings classes of the methods of this package."""
    return {name: agents.config_type(name) for name in agents.METHODS}


def _schema_envs() -> list[NamedOptions]:
    """The options of this package's environments, and of those that other packages bring."""
    found = list(built_in_options())
    for name in entry_point_envs():
        try:
            found.append(NamedOptions(name, env_options(name)))
        except (EnvError, HarnessError):
            continue  # a package that it needs is not installed
    return found


def _found(arguments: Arguments) -> dict[str, Setting]:
    """Every setting by its whole key, for the chosen method and environment."""
    sections = dict(catalog(agents.config_type(arguments.method or "espl")))
    if arguments.env:
        name = whole_name(arguments.env)
        try:
            sections["env"] = {**sections["env"], **env_options(name)}
        except EnvError as error:
            raise UsageError(str(error)) from error
    return {
        f"{section}.{key}": setting
        for section, settings in sections.items()
        for key, setting in settings.items()
    }


def _one(key: str, found: Mapping[str, Setting]) -> tuple[str, Setting]:
    """The setting of that key; a key without its section will do where only one has it."""
    if key in found:
        return key, found[key]
    ends = [name for name in found if name.partition(".")[2] == key]
    if len(ends) == 1:
        return ends[0], found[ends[0]]
    raise unknown("setting", key, ends or found)


def _print_one(key: str, setting: Setting) -> None:
    rows = [
        ("key", key),
        ("meaning", setting.meaning),
        ("values", setting.values),
        ("default", "must be given" if setting.required else setting.shown_default),
        ("unit", setting.unit),
        ("paper", setting.paper),
        ("class", _CLASSES[setting.kind]),
        ("formerly", setting.formerly.name),
        ("set by", f"--set {key}=…, or [{key.partition('.')[0]}] in a file of --config"),
    ]
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, value in rows:
        if value:
            table.add_row(Text(name), Text(value))
    SafeConsole().print(table)


_CLASSES = {
    "measured": "measured: part of what is measured",
    "execution": "execution: how it is computed; results stay the same",
}


def _print_all(found: Mapping[str, Setting]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("key", "default", "class", "meaning and values"):
        table.add_column(head, no_wrap=head == "key", overflow="fold")
    for key, setting in found.items():
        values = f"{setting.values}; {setting.unit}" if setting.unit else setting.values
        meaning = f"{setting.meaning} ({values})"
        default = "must be given" if setting.required else setting.shown_default
        table.add_row(Text(key), Text(default), Text(setting.kind), Text(meaning))
    SafeConsole().print(table)


def _record(key: str, setting: Setting) -> dict[str, object]:
    return {
        "key": key,
        "type": setting.type,
        "choices": list(setting.choices),
        "default": setting.default,
        "class": setting.kind,
        "meaning": setting.meaning,
        "unit": setting.unit,
        "paper": setting.paper,
    }
