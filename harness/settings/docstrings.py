"""Options of a class, described by its signature and the `Args:` of its docstring.

An argument's bounds, choices and unit may stand in parentheses after its name, as in
`turns (1 to 20; in completions): …`, `seconds (at least 1; in seconds): …` and
`source (one of nq, hotpotqa): …`.
"""

import inspect
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from harness.settings.fields import Setting, describe_one

_ARGUMENT = re.compile(r"^\s*\*{0,2}(\w+)(?: \(([^)]*)\))?:\s*(.*)$")
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_RANGE = re.compile(f"{_NUMBER} to {_NUMBER}")
_LEAST = re.compile(f"at least {_NUMBER}")
_CHOICES, _UNIT = "one of ", "in "


@dataclass(frozen=True, slots=True)
class ArgumentText:
    """The text on one argument; `facts` is what stands in the parentheses after its name."""

    meaning: str
    facts: str = ""

    def add_facts(self, setting: Setting) -> Setting:
        """The setting with these bounds, choices and unit; anything else is passed over."""
        for fact in (part.strip() for part in self.facts.split(";")):
            # Docstrings of other packages may have a type here, as in "(int, optional)".
            if fact.startswith(_CHOICES):
                setting = replace(setting, choices=tuple(fact.removeprefix(_CHOICES).split(", ")))
            elif found := _RANGE.fullmatch(fact):
                setting = replace(setting, low=_number(found[1]), high=_number(found[2]))
            elif found := _LEAST.fullmatch(fact):
                setting = replace(setting, low=_number(found[1]))
            elif fact.startswith(_UNIT):
                setting = replace(setting, unit=fact.removeprefix(_UNIT))
        return setting


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)


def argument_texts(cls: Any) -> dict[str, ArgumentText]:
    """The text on each argument under `Args:` in a docstring; a parent's where it has none."""
    texts: dict[str, ArgumentText] = {}
    for owner in reversed(cls.__mro__ if isinstance(cls, type) else (cls,)):
        init = vars(owner).get("__init__") if isinstance(owner, type) else None
        for text in (inspect.getdoc(init) if init else None, owner.__doc__):
            texts.update(_arguments(inspect.cleandoc(text or "")))
    return texts


def _arguments(docstring: str) -> dict[str, ArgumentText]:
    texts: dict[str, list[str]] = {}
    facts: dict[str, str] = {}
    lines: list[str] = []
    inside = False
    for line in docstring.splitlines():
        if inside and line.strip() and not line.startswith(" "):
            break
        # Deeper lines continue an argument's text, even where they look like another one.
        if inside and (found := _ARGUMENT.match(line)) and _depth(line) <= 4:
            lines = texts.setdefault(found[1], [])
            facts[found[1]] = found[2] or ""
            line = found[3]
        if inside:
            lines.append(line.strip())
        inside = inside or line.strip() == "Args:"
    return {
        key: ArgumentText(" ".join(" ".join(parts).split()), facts[key])
        for key, parts in texts.items()
    }


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def describe_options(cls: Any, defaults: Mapping[str, object]) -> dict[str, Setting]:
    """The options with these defaults; a default of `inspect.Parameter.empty` must be given."""
    hints = _annotations(cls)
    texts = argument_texts(cls)
    meanings = {key: text.meaning for key, text in texts.items()}
    found = {}
    for key, value in defaults.items():
        required = value is inspect.Parameter.empty
        default = None if required else value
        hint = hints.get(key, type(default) if default is not None else str)
        setting = describe_one(key, hint, default, meanings, required=required)
        found[key] = texts[key].add_facts(setting) if key in texts else setting
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
        # What the nearest class says counts.
        hints = {**found, **hints}
    return hints
