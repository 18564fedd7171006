"""Differences between two configurations of a run, key by key."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import cast

import agents
from harness.errors import RunError, UsageError
from harness.runs.request import request_of
from harness.settings.catalog import catalog
from harness.settings.config import Config
from harness.settings.fields import describe
from harness.settings.sources import Scalar
from harness.storage.atomic_files import read_json
from harness.types import JSON
from leaderboards.records.details import SettingChange
from leaderboards.records.strict_json import canonical

Flat = Mapping[str, JSON]
"""Settings by `section.key`; one that is not set is absent."""

OTHER_RUN = ("env.name", "env.task_seed", "method.name", "model.url", "run.seed")
"""Settings that say which run it is: with another value it is another run."""
_LONGEST = 60  # characters of a value in a message


def flat(request: Config) -> dict[str, JSON]:
    """All settings of a request."""
    tables = request.to_tables()
    return {f"{section}.{key}": v for section, table in tables.items() for key, v in table.items()}


def today(settings: Flat) -> dict[str, JSON]:
    """Settings that were written down earlier: with today's names, and defaults of added ones."""
    tables: dict[str, dict[str, Scalar]] = {}
    for name, value in settings.items():
        section, _, key = name.partition(".")
        tables.setdefault(section, {})[key] = cast(Scalar, value)
    return flat(request_of(tables))


def measured(settings: Flat) -> dict[str, JSON]:
    """Those that decide what is measured; the rest says how a run is executed."""
    method = str(settings.get("method.name", ""))
    return {key: v for key, v in settings.items() if is_measured(key, method)}


def is_measured(key: str, method: str = "") -> bool:
    """True for a setting that decides what is measured; options of environments do."""
    return key not in _execution(method)


@cache
def _execution(method: str) -> frozenset[str]:
    try:
        own = describe(agents.config_type(method)) if method else {}
    except UsageError:  # a method that is not installed here
        own = {}
    tables = {**catalog(), "method": own}
    return frozenset(
        f"{section}.{key}"
        for section, table in tables.items()
        for key, setting in table.items()
        if setting.kind == "execution"
    )


def differences(before: Flat, after: Flat) -> list[SettingChange]:
    """The settings in which two configurations differ, in order of their names."""
    return [
        SettingChange(key, before.get(key), after.get(key))
        for key in sorted({*before, *after})
        if canonical(before.get(key)) != canonical(after.get(key))
    ]


def shown(change: SettingChange) -> str:
    """A change in words, for a message."""
    return f"{change.key} was {_short(change.old)} and is {_short(change.new)}"


def _short(value: JSON) -> str:
    if value is None:
        return "unset"
    text = canonical(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def next_iteration(folder: Path) -> int:
    """The iteration that a run goes on with, counted from 0.

    Raises:
        RunError: Its checkpoint does not say.
    """
    for name in ("checkpoint", "checkpoint.old"):
        path = folder / name / "state.json"
        if path.exists():
            found = read_json(path).get("round")
            if type(found) is not int or found < 0:
                raise RunError(
                    f"{path} names no iteration; restore it from a copy, or start a new run."
                )
            return found
    return 0


def began(run_dir: Path) -> bool:
    """True for a run that has come further than its request."""
    logs = ("episodes.jsonl", "test.jsonl", "unfinished_round.jsonl")
    done = ("checkpoint", "checkpoint.old", "entry.json", "opening.json")
    sizes = (_size(run_dir / name) for name in logs)
    return any((run_dir / name).exists() for name in done) or any(sizes)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
