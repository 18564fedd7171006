"""Build settings from tables, and turn what pydantic finds into one sentence."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from harness.errors import UsageError, unknown
from harness.settings.fields import Setting, describe, shown, shown_bound

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)
"""Nothing is converted but a whole number to a fraction, and nothing unknown is accepted."""

_LARGEST = 2**63 - 1  # of TOML's integers
_WORDY = 60  # characters of a wrong value that are repeated

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def settings(cls: type[_T]) -> type[_T]:
    """Make a frozen dataclass whose values pydantic checks, however it is made."""
    made: Any = dataclass(frozen=True, config=STRICT)(cls)
    return made  # type: ignore[no-any-return]


@settings
class Settings:
    """A section of settings; a wrong value is a UsageError that says what would be right."""

    section: ClassVar[str] = "method"

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, given: Any, check: Callable[[Any], Any]) -> Any:
        try:
            return check(given)
        except ValidationError as error:
            raise sentence(error, cls, cls.section) from None


def build(cls: type[_T], table: Mapping[str, object], section: str) -> _T:
    """Fill a frozen dataclass from a table; unknown keys and wrong values are usage errors.

    The class may be one of `Settings` or anybody's plain dataclass.
    """
    known = [f.name for f in fields(cls) if f.init]  # type: ignore[arg-type]  # it is a dataclass
    for key, value in table.items():
        if key not in known:
            raise unknown(f"setting [{section}]", key, known)
        if type(value) is int and abs(value) > _LARGEST and not describe(cls)[key].choices:
            raise UsageError(
                f"{section}.{key} is a whole number beyond 64 bits; write a smaller one."
            )
    # In its own namespace: a plain subclass inherits the attribute, but is not checked by it.
    if "__pydantic_validator__" in cls.__dict__:
        return cls(**table)
    hints = get_type_hints(cls, include_extras=True)
    checked = {}
    for key, value in table.items():
        try:
            checked[key] = _adapter(hints[key]).validate_python(value)
        except ValidationError as error:
            raise sentence(error, cls, section, key) from None
    return cls(**checked)


def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=STRICT)


def sentence(error: ValidationError, cls: type[Any], section: str, key: str = "") -> UsageError:
    """The first thing that is wrong, in one sentence that says what would be right."""
    first = error.errors(include_url=False)[0]
    place = key or str(first["loc"][0] if first["loc"] else "")
    known = describe(cls)
    if place not in known:
        return unknown(f"setting [{section}]", place, known)
    return wrong_value(known[place], first["input"], f"{section}.{place}")


def wrong_value(setting: Setting, value: object, name: str) -> UsageError:
    """The error for a value that a setting cannot have."""
    if setting.choices:
        return unknown(f"value of {name}", _short(str(value)), setting.choices)
    number = type(value) in (int, float) and setting.type in ("int", "float")
    if number and not (setting.type == "int" and type(value) is float):
        if not math.isfinite(value) and setting.low is None:  # type: ignore[arg-type]  # a number
            return UsageError(f"Setting {name} is {value}, but must be a finite number.")
        return _outside(setting, value, name)
    example = setting.default if setting.default not in (None, "") else _EXAMPLES.get(setting.type)
    return UsageError(
        f"{name} is {_short(repr(value))}, but should be of type {setting.type}; "
        f"write it as in --set {name}={shown(example) if setting.type != 'str' else '...'}."
    )


_EXAMPLES: Mapping[str, object] = {"int": 1, "float": 0.5, "bool": True}


def _outside(setting: Setting, value: object, name: str) -> UsageError:
    bounds = [
        f"{word} {shown_bound(bound)}"
        for word, bound in (("at least", setting.low), ("at most", setting.high))
        if bound is not None
    ]
    instead = setting.high if setting.low is None else setting.low
    return UsageError(
        f"Setting {name} is {_short(str(value))}, but must be {' and '.join(bounds)}; "
        f"write --set {name}={instead:g}."
    )


def _short(text: str) -> str:
    return text if len(text) <= _WORDY else f"{text[: _WORDY - 1]}…"


def recorded(settings: Any) -> dict[str, Any]:
    """The settings as entries of the leaderboard record them: under the names they had first."""
    found = {}
    for key, setting in describe(type(settings)).items():
        value = getattr(settings, key)
        if isinstance(value, str):
            value = setting.formerly.values.get(value, value)
        found[setting.formerly.name or key] = value
    return found
