"""The documentation site: every page is in its navigation, and the reference has every command.

`make docs`, which CI runs, builds it, checks its links and that it loads nothing from elsewhere.
"""

import ast
import re
from pathlib import Path

import pytest
from typer.core import TyperGroup

from harness.cli.parser import command_line
from harness.cli.reference import commands_page

HOME = Path(__file__).resolve().parent.parent
CONFIG = (HOME / "mkdocs.yml").read_text(encoding="utf-8")


def moved_pages() -> dict[str, str]:
    """PAGES of docs/hooks.py, read without importing mkdocs."""
    tree = ast.parse((HOME / "docs" / "hooks.py").read_text(encoding="utf-8"))
    values = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PAGES"
    ]
    (found,) = map(ast.literal_eval, values)
    assert isinstance(found, dict)
    return found


def test_every_page_is_in_the_navigation_once_and_exists():
    shown = re.findall(r"^ +- (\S+\.md)$", CONFIG.split("\nnav:")[1], re.M)
    written = [page.name for page in (HOME / "docs").glob("*.md")]
    assert sorted(shown) == sorted([*written, *moved_pages().values(), "commands.md"])
    assert all((HOME / name).is_file() for name in moved_pages())


def leaves(group: TyperGroup, path: str) -> list[str]:
    found = []
    for name, command in group.commands.items():
        below = f"{path} {name}"
        found += leaves(command, below) if isinstance(command, TyperGroup) else [below]
    return found


@pytest.mark.parametrize("command", leaves(command_line(), "harness"))
def test_the_reference_has_every_command(command):
    assert f"## `{command}`\n" in commands_page()


def test_the_reference_shows_options_arguments_and_examples():
    text = commands_page()
    assert "| `--method` | `NAME,…` |" in text
    assert "harness resume runs/" in text and "Arguments: `" in text
    # A `|` within a cell would break the table.
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
