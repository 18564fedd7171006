"""Options of a class, described by its signature and the `Args:` of its docstring."""

import inspect
import re
import typing
from collections.abc import Mapping
from typing import Any

from harness.settings.fields import Setting, describe_one

_ARGUMENT = re.compile(r"^\s*\*{0,2}(\w+)(?: \([^)]*\))?:\s*(.*)$")


def argument_texts(cls: Any) -> dict[str, str]:
    """The text on each argument under `Args:` in a docstring; a parent's where it has none."""
    texts: dict[str, str] = {}
    for owner in reversed(cls.__mro__ if isinstance(cls, type) else (cls,)):
        init = vars(owner).get("__init__") if isinstance(owner, type) else None
        for text in (inspect.getdoc(init) if init else None, owner.__doc__):
            texts.update(_arguments(inspect.cleandoc(text or "")))
    return texts


def _arguments(docstring: str) -> dict[str, str]:
    texts: dict[str, list[str]] = {}
    lines: list[str] = []
    inside = False
    for line in docstring.splitlines():
        if inside and line.strip() and not line.startswith(" "):
            break
        if inside and (found := _ARGUMENT.match(line)) and _depth(line) <= 4:
            lines = texts.setdefault(found[1], [])
            line = found[2]
        if inside:
            lines.append(line.strip())
        inside = inside or line.strip() == "Args:"
    return {key: " ".join(" ".join(parts).split()) for key, parts in texts.items()}


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def describe_options(cls: Any, defaults: Mapping[str, object]) -> dict[str, Setting]:
    """The options with these defaults; a default of `inspect.Parameter.empty` must be given."""
    hints = _annotations(cls)
    texts = argument_texts(cls)
    found = {}
    for key, value in defaults.items():
        required = value is inspect.Parameter.empty
        default = None if required else value
        hint = hints.get(key, type(default) if default is not None else str)
        found[key] = describe_one(key, hint, default, texts, required=required)
    return found


def _annotations(cls: Any) -> dict[str, Any]:
    """The annotations of a class's arguments, its parents' where it passes them on."""
    hints: dict[str, Any] = {}
    for owner in cls.__mro__ if isinstance(cls, type) else (cls,):
        called = vars(owner).get("__init__") if isinstance(owner, type) else owner
        try:
            found = typing.get_type_hints(called) if called else {}
        except Exception:  # annotations of other people's classes may name what is not there
            continue
        hints = {**found, **hints}
    return hints
