"""Facts about a setting, carried by its annotation and read back as one description.

A field of a settings class is written as

    learning_rate: Annotated[float, Ge(0), Paper("E-SPL App. A.5")] = 4e-5
    \"\"\"Step size of Adam.\"\"\"

Type, bounds and choices come from the annotation, the meaning from the text below the field. A
plain frozen dataclass without any of this is described by what it has.
"""

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le

KeyClass = Literal["measured", "execution"]
"""Class of a key: part of what is measured, or of how it is executed (memory, jobs, devices)."""


@dataclass(frozen=True, slots=True)
class UnitName:
    """The unit of a number, like "seconds"."""

    name: str


@dataclass(frozen=True, slots=True)
class Paper:
    """The place in a paper that a setting or its default comes from."""

    place: str


@dataclass(frozen=True, slots=True)
class Formerly:
    """The name and values of a setting before it was renamed.

    Records (entries of the leaderboard) keep them, and older TOML files and commands use them.
    `values` maps each new value to the old one.
    """

    name: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Executes:
    """Mark of a setting that says how a run is executed, and not what is measured."""


EXECUTES = Executes()


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that is known about one key."""

    key: str
    type: str
    default: object
    meaning: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    unit: str = ""
    paper: str = ""
    kind: KeyClass = "measured"
    formerly: Formerly = Formerly()
    optional: bool = False
    """True if it may be left unset, which is not the same as any value."""
    required: bool = False
    """True if it has no default and must be given."""

    @property
    def values(self) -> str:
        """Type, choices and bounds in words: "a whole number, 1 to 20", "one of a, b"."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        name = TYPE_NAMES.get(self.type, self.type)
        if self.low is not None and self.high is not None:
            name += f", {shown_bound(self.low)} to {shown_bound(self.high)}"
        elif self.low is not None:
            name += f", at least {shown_bound(self.low)}"
        elif self.high is not None:
            name += f", at most {shown_bound(self.high)}"
        return name

    @property
    def shown_default(self) -> str:
        """The default as it is written in TOML; "unset" where there is none."""
        return shown(self.default)


def shown_bound(value: float) -> str:
    """A bound in words: 65,536 or 0.001."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


TYPE_NAMES = {"int": "whole number", "float": "number", "str": "text", "bool": "true or false"}


def shown(value: object) -> str:
    """A value as TOML has it; "unset" for None."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def explained(setting: Setting) -> str:
    """Meaning, allowed values, unit and paper section of a setting, in one line."""
    facts = [setting.values, setting.unit, setting.paper]
    return f"{setting.meaning} ({'; '.join(fact for fact in facts if fact)})".strip()


def describe(cls: type[Any]) -> Mapping[str, Setting]:
    """The settings of a frozen dataclass by key, in the order of its fields."""
    hints = get_type_hints(cls, include_extras=True)
    meanings = field_texts(cls)
    found = {}
    for one in fields(cls):
        # A computed field cannot be set.
        if not one.init:
            continue
        default = one.default
        if one.default_factory is not MISSING:
            default = one.default_factory()
        found[one.name] = describe_one(
            one.name, hints[one.name], None if default is MISSING else default, meanings
        )
    return types.MappingProxyType(found)


def describe_one(
    key: str, hint: Any, default: object, meanings: Mapping[str, str], required: bool = False
) -> Setting:
    """One setting, from its annotation, its default and the texts of its class."""
    facts: dict[str, Any] = {"required": required}
    inner = hint
    for fact in _metadata(hint):
        if isinstance(fact, Ge):
            facts["low"] = fact.ge
        elif isinstance(fact, Le):
            facts["high"] = fact.le
        elif isinstance(fact, UnitName):
            facts["unit"] = fact.name
        elif isinstance(fact, Paper):
            facts["paper"] = fact.place
        elif isinstance(fact, Formerly):
            facts["formerly"] = fact
        elif isinstance(fact, Executes):
            facts["kind"] = "execution"
    kinds = [k for k in _alternatives(inner) if k is not type(None)]
    choices = tuple(str(c) for k in kinds if get_origin(k) is Literal for c in get_args(k))
    name = (
        "str"
        if choices
        else " or ".join(k.__name__ if isinstance(k, type) else str(k) for k in kinds)
    )
    return Setting(
        key,
        name,
        default,
        meanings.get(key, ""),
        choices=choices,
        optional=len(kinds) < len(list(_alternatives(inner))),
        **facts,
    )


def _metadata(hint: Any) -> Iterator[object]:
    """Every fact in an annotation, also of the parts of a union."""
    if get_origin(hint) is Annotated:
        yield from hint.__metadata__
        yield from _metadata(hint.__origin__)
    elif get_origin(hint) in (Union, types.UnionType):
        for part in get_args(hint):
            yield from _metadata(part)


def _alternatives(hint: Any) -> Iterator[Any]:
    """The plain types of an annotation: float and None of `float | None`."""
    if get_origin(hint) is Annotated:
        yield from _alternatives(hint.__origin__)
    elif get_origin(hint) in (Union, types.UnionType):
        for part in get_args(hint):
            yield from _alternatives(part)
    else:
        yield hint


def field_texts(cls: type[Any]) -> dict[str, str]:
    """The text below each field, in one line; a parent's where a class has none of its own."""
    texts: dict[str, str] = {}
    # From the oldest on, so that a class's own text replaces its parent's; `object` is last.
    for owner in reversed(cls.__mro__[:-1]):
        texts.update(_own_texts(owner))
    return texts


@cache
def _own_texts(cls: type[Any]) -> Mapping[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
        body = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return {}  # made without a file, in an interpreter say
    if not isinstance(body, ast.ClassDef):
        return {}
    texts = {}
    # Python keeps no text below a field, so it is read from the source.
    for before, after in zip(body.body, body.body[1:], strict=False):
        named = isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
        if not (named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
            continue
        if isinstance(after.value.value, str):
            texts[before.target.id] = " ".join(after.value.value.split())  # type: ignore[attr-defined]  # named says so
    return texts
