"""`harness env|model|method list|show`: what there is."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields

from rich.console import Console
from rich.table import Table
from rich.text import Text

import agents
import envs
from envs.errors import UnknownWorld
from harness.errors import UsageError
from harness.policies import known_models


def main(arguments: argparse.Namespace) -> int:
    """Print a list, or all that is known of one thing."""
    if arguments.act == "show":
        return (
            _show_env(arguments.name) if arguments.verb == "env" else _show_method(arguments.name)
        )
    rows: Mapping[str, str]
    if arguments.verb == "env":
        rows = {name: envs.describe(name).summary for name in envs.names()}
    elif arguments.verb == "model":
        rows = known_models()
    else:
        rows = {name: agents.describe(name) for name in agents.names()}
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


def _show_env(name: str) -> int:
    try:
        described = envs.describe(name)
    except UnknownWorld as error:
        raise UsageError(str(error)) from error
    sizes = ", ".join(f"{split} {size}" for split, size in described.sizes.items())
    rows = [
        ("name", described.name),
        ("Gymnasium id", described.id),
        ("what it is", described.summary),
        ("tasks", sizes),
        ("reply limit", f"{described.reply_tokens} tokens"),
        ("options", ", ".join(described.options) or "none"),
        ("publish texts", "yes" if described.redistributable else "no: ids and replies only"),
    ]
    for file in described.files:
        rows.append(("file", f"{file.name}: {file.rows} lines, fields {', '.join(file.fields)}"))
        rows.append(("", f"or, from the Hub, {file.hub}"))
    if described.files:
        rows.append(("run", f"harness run --env {name} --data-dir FOLDER"))
    _table(("", ""), rows)
    return 0


def _show_method(name: str) -> int:
    config = agents.config_type(name)
    print(agents.describe(name))
    settings = config()
    rows = [(f"method.{f.name}", repr(getattr(settings, f.name))) for f in fields(config)]
    if rows:
        _table(("setting", "default"), rows)
    return 0
