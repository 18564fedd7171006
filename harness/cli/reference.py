"""The reference of all commands as a Markdown page, made from what `--help` prints."""

from collections.abc import Iterator
from inspect import cleandoc

from typer.core import TyperCommand, TyperGroup, TyperOption

from harness.cli.parser import command_line

INTRODUCTION = """# Commands

Made from `harness COMMAND --help`. What `--set` can change is listed in [settings](settings.md).
"""


def commands_page() -> str:
    """Every command with its arguments, options and examples; one section each."""
    return "\n".join([INTRODUCTION, *_sections(command_line(), "harness")]) + "\n"


def _sections(group: TyperGroup, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _sections(command, f"{path} {name}")
        elif isinstance(command, TyperCommand):
            yield _section(command, f"{path} {name}")


def _section(command: TyperCommand, path: str) -> str:
    typed = [p.metavar or str(p.name) for p in command.params if not _is_option(p)]
    usage = " ".join(typed)
    lines = [f"## `{path}`", "", cleandoc(command.help or ""), ""]
    lines += [f"Arguments: `{usage}`", ""] if typed else []
    if examples := cleandoc(command.epilog or ""):
        lines += ["```bash", examples, "```", ""]
    rows = [_row(p) for p in command.params if isinstance(p, TyperOption) and not p.hidden]
    if rows:
        lines += ["| option | value | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _is_option(parameter: object) -> bool:
    return isinstance(parameter, TyperOption)


def _row(option: TyperOption) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    value = f"`{option.metavar}`" if option.metavar else ""
    return f"| {names} | {_cell(value)} | {_cell(option.help or '')} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
