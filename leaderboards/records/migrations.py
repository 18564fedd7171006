"""Migrations of parsed entries from older schemas, one version after the other.

Pure functions from JSON values to JSON values; files are read and typed elsewhere.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from leaderboards.records.strict_json import RecordError, preview

SCHEMA = 3

Migration: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def _first(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Schema 1 to 2. Schema 1 had no prices and kept all turns of a conversation as one text.

    The ends of the turns cannot be recovered, so such a text stays one text.
    """
    outcomes = raw.get("outcomes")
    for number, outcome in enumerate(outcomes if isinstance(outcomes, list) else ()):
        if isinstance(outcome, dict) and isinstance(outcome.get("reply"), list):
            raise RecordError("must be a string in schema 1", f"outcomes[{number}].reply")
    made = raw.get("provenance")
    if not isinstance(made, dict):
        return raw
    if "prices" in made:
        raise RecordError("is unknown to schema 1", "provenance.prices")
    return {**raw, "provenance": {**made, "prices": None}}


_OF_SCHEMA_3 = (
    "segments",
    "execution_changes",
    "participants",
    "learning_curve",
    "population",
    "task_texts",
    "backend",
    "sealed",
    "asked_again",
    "hung_graders",
)


def _second(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Schema 2 to 3, which added fields that may be absent."""
    for name in _OF_SCHEMA_3:
        if name in raw:
            raise RecordError("is unknown to schemas before 3", name)
    return raw


# From a schema version to the next. Each step is pure, and none is ever edited once released.
MIGRATIONS: Mapping[int, Migration] = {1: _first, 2: _second}


def migrate(
    raw: object,
    source: str = "entry",
    migrations: Mapping[int, Migration] = MIGRATIONS,
    schema: int = SCHEMA,
) -> Mapping[str, Any]:
    """Bring a parsed entry to the current schema, one version after the other.

    Raises:
        RecordError: if it has no schema, or one newer than this code knows.
    """
    if not isinstance(raw, dict):
        raise RecordError(f"must be an object, but is {preview(raw)}", source=source)
    version = raw.get("schema")
    # Not isinstance, because True is an int too.
    if type(version) is not int or version < 1:
        problem = "is missing" if version is None else f"must be 1 to {schema}"
        raise RecordError(problem, "schema", source)
    if version > schema:
        problem = f"is {version}, but this version reads up to {schema}; update the harness"
        raise RecordError(problem, "schema", source)
    try:
        for step in range(version, schema):
            raw = {**migrations[step](raw), "schema": step + 1}
    except RecordError as error:
        raise error.named(source) from None
    return raw
