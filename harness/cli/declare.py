"""Declare commands: one decorated signature each, which `build` turns into the command line.

    @command(panel=RESULTS, examples="harness show runs/my-run", module="show")
    def show(run: Run, transcripts: Transcripts = 2) -> None:
        '''Print a run's prompts, learning curve and transcripts.'''

The signature gives arguments and options, the docstring the help text; the function is never
called. What was typed goes as `Arguments` to `main` of `harness.cli.commands.MODULE`, which is
imported only then, so that `harness --help` loads no command.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from harness.cli.arguments import Arguments
from harness.errors import unknown

TRAINING = "Train and evaluate"
RESULTS = "Look at results"
ANALYSIS = "Compare and explain"
PLANNING = "Before a run"
PARTS = "Environments, models and methods"
PANELS = (TRAINING, RESULTS, ANALYSIS, PLANNING, PARTS)
"""Headings of `harness --help`, in this order."""

Declaration = Callable[..., None]


@dataclass(frozen=True)
class Invocation:
    """A command that was parsed and is yet to be run."""

    module: str
    arguments: Arguments


@dataclass(frozen=True)
class _Command:
    """One declaration."""

    name: str
    signature: Declaration
    panel: str
    examples: str
    module: str


@dataclass
class CommandGroup:
    """A command with commands of its own, such as `harness env`."""

    name: str
    about: str
    panel: str = PARTS
    commands: list[_Command] = field(default_factory=list)


_COMMANDS: list[_Command] = []
_GROUPS: dict[str, CommandGroup] = {}


def group(name: str, about: str, panel: str = PARTS) -> CommandGroup:
    """The group of that name; made where it is declared for the first time."""
    return _GROUPS.setdefault(name, CommandGroup(name, about, panel))


def command(
    *, panel: str = "", examples: str, module: str, of: CommandGroup | None = None, name: str = ""
) -> Callable[[Declaration], Declaration]:
    """Declare a command: its name is the function's unless given, its help the docstring.

    `examples` has one command line a line; `of` puts it into a group.
    """

    def declare(signature: Declaration) -> Declaration:
        declared = _Command(name or signature.__name__, signature, panel, examples, module)
        (of.commands if of else _COMMANDS).append(declared)
        return signature

    return declare


def build(root: Declaration, about: str, examples: str) -> typer.Typer:
    """The command line of everything declared; `root` has the options of `harness` itself."""
    app = _typer(about, examples, add_completion=True)
    app.callback(invoke_without_command=True)(root)
    for panel in PANELS:  # a panel stands where its first command is registered
        for one in (c for c in _COMMANDS if c.panel == panel):
            _register(app, one, one.name, "")
        for members in (g for g in _GROUPS.values() if g.panel == panel):
            listed = "\n".join(one.examples.strip().splitlines()[0] for one in members.commands)
            sub = _typer(members.about, listed, add_completion=False)
            for one in members.commands:
                _register(sub, one, members.name, one.name)
            app.add_typer(sub, name=members.name, rich_help_panel=panel)
    return app


def _typer(about: str, examples: str, add_completion: bool) -> typer.Typer:
    return typer.Typer(
        cls=_HelpfulGroup,
        help=about,
        epilog=examples,
        add_completion=add_completion,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["--help", "-h"]},
    )


def _register(app: typer.Typer, one: _Command, verb: str, act: str) -> None:
    @wraps(one.signature)
    def invoked(**values: object) -> Invocation:
        # An option that may be repeated and was not given is None to Typer, [] to commands.
        none: dict[str, object] = {n: [] for n in _lists(one.signature) if values[n] is None}
        return Invocation(one.module, Arguments(verb=verb, act=act, **values | none))

    register = app.command(
        one.name, cls=_HelpfulCommand, rich_help_panel=one.panel or None, epilog=one.examples
    )
    register(invoked)


def _lists(signature: Declaration) -> Iterator[str]:
    """Parameters that take any number of values."""
    for name, hint in get_type_hints(signature).items():
        if any(get_origin(part) is list for part in get_args(hint)):
            yield name


_UNCHANGED = (str, list[str])


def _without_pydantic(params: list[Any]) -> list[Any]:
    """The parameters, made to convert plain values without pydantic.

    Typer converts every value by a pydantic adapter, even one that was not given; importing
    pydantic takes 0.1 s of a command. Defaults, texts and paths need none of it.
    """
    for param in params:
        # Wrapped once, even where the parameters are asked for again.
        if "process_value" not in vars(param):
            vars(param)["process_value"] = partial(_process, param, param.process_value)
    return params


def _process(param: Any, convert: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    hint = param.type_descriptor.annotation
    if param.required and param.value_is_missing(value):
        return convert(context, value)  # Typer's own message
    if value is None:
        plain: Any = () if param.multiple or param.nargs == -1 else None
    elif value is param.default or hint in _UNCHANGED:
        plain = value
    elif hint is Path:
        plain = Path(value)
    elif hint == list[Path]:
        plain = [Path(one) for one in value]
    else:
        return convert(context, value)
    return plain if param.callback is None else param.callback(context, param, plain)


class _HelpfulCommand(TyperCommand):
    """A command whose help ends with its examples, on lines that are never wrapped."""

    @override
    def get_params(self, ctx: Any) -> Any:
        return _without_pydantic(super().get_params(ctx))

    @override
    def format_help(self, ctx: Any, formatter: Any) -> None:
        examples, self.epilog = self.epilog, None
        super().format_help(ctx, formatter)
        _print_examples(examples)


class _HelpfulGroup(TyperGroup):
    """A group with examples too; a command that does not exist is answered with those that do."""

    @override
    def get_params(self, ctx: Any) -> Any:
        return _without_pydantic(super().get_params(ctx))

    @override
    def format_help(self, ctx: Any, formatter: Any) -> None:
        examples, self.epilog = self.epilog, None
        super().format_help(ctx, formatter)
        _print_examples(examples)

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not args[0].startswith("-") and args[0] not in self.commands:
            kind = "command" if ctx.parent is None else f"command of {ctx.command_path}"
            raise unknown(kind, args[0], self.commands)
        return super().resolve_command(ctx, args)


def _print_examples(examples: str | None) -> None:
    lines = (examples or "").strip().splitlines()
    print("\n".join((" Examples:", *(f"   {line.strip()}" for line in lines))))
