"""The parsed arguments and options of a command."""

from types import SimpleNamespace


class Arguments(SimpleNamespace):
    """Values by the names in a command's declaration, and `verb` and `act`.

    `verb` is the command's name, `act` what follows it in a group: "list" in `harness env list`.
    """
