"""Spellings of earlier versions: read for this version, with one line that names the new one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.errors import UsageError
from harness.settings.executor import ExecutorSection
from harness.settings.fields import Formerly, describe
from harness.settings.model import ModelSettings
from harness.settings.sections import (
    BudgetSection,
    EnvSection,
    EvaluationSection,
    LimitsSection,
    PricesSection,
    ReflectionSection,
    RunSection,
    SamplingSection,
    Scalar,
    TrackingSection,
)

SECTIONS: Mapping[str, type[Any]] = {
    "env": EnvSection,
    "model": ModelSettings,
    "sampling": SamplingSection,
    "budget": BudgetSection,
    "evaluation": EvaluationSection,
    "reflection": ReflectionSection,
    "run": RunSection,
    "prices": PricesSection,
    "limits": LimitsSection,
    "tracking": TrackingSection,
    "executor": ExecutorSection,
}
"""The typed sections by name; `[method]` belongs to the method, and `[env]` has options besides."""

OLD_SECTIONS: Mapping[str, str] = {"world": "env", "engine": "executor"}

Tables = dict[str, dict[str, Scalar]]


def written_name(tables: Mapping[str, object], section: str) -> str:
    """The name under which these tables have a section: today's, or an old one."""
    olds = (old for old, now in OLD_SECTIONS.items() if now == section)
    return next((old for old in olds if old in tables), section)


def modern(
    tables: Mapping[str, Mapping[str, Scalar]], methods: Iterable[type[Any]] = ()
) -> tuple[Tables, list[str]]:
    """Sections with today's names and values, and a line for each that was old.

    `methods` are the settings classes of the methods that `[method]` is for.

    Raises:
        UsageError: One key is given under both of its names.
    """
    new: Tables = {}
    notes: list[str] = []
    own = list(methods)
    for section, table in tables.items():
        name = OLD_SECTIONS.get(section, section)
        typed = SECTIONS.get(name)
        classes = own if name == "method" else [typed] if typed else []
        for key, value in table.items():
            found, changed = _modern_key(key, value, classes)
            if found in new.setdefault(name, {}):
                raise UsageError(
                    f"{section}.{key} and {name}.{found} are the same setting; leave one out."
                )
            new[name][found] = changed
            if (name, found) != (section, key):
                notes.append(_note(f"{section}.{key}", f"{name}.{found}"))
            elif value != changed:
                notes.append(_note(f"{name}.{key}={value}", f"{name}.{key}={changed}"))
        new.setdefault(name, {})
    return new, notes


def _note(old: str, now: str) -> str:
    return f"{old} is now {now}; the old spelling is read in this version only"


def _modern_key(key: str, value: Scalar, classes: Sequence[type[Any]]) -> tuple[str, Scalar]:
    settings = [s for cls in classes for s in describe(cls).values()]
    named = next((s for s in settings if s.key == key), None)
    # A method may have a setting of its own that is called as another one was.
    named = named or next((s for s in settings if s.formerly.name == key), None)
    if named is None:
        return key, value
    return named.key, _modern_value(named.formerly, value)


def _modern_value(formerly: Formerly, value: Scalar) -> Scalar:
    return next((new for new, old in formerly.values.items() if old == value), value)
