"""The file `state.json` of a checkpoint, with every field checked where it is read."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from harness.budget import Usage
from harness.errors import RunError
from harness.storage.atomic_files import read_json
from harness.types import JSON

SCHEMA = 1
LOGS = ("episodes", "rounds", "population")
"""Logs whose lengths a checkpoint names."""


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """The content of `state.json`; `has_manifest` says that a manifest was written beside it."""

    round: int
    method: Mapping[str, JSON]
    spent: Usage
    logs: Mapping[str, int]
    has_manifest: bool


def read_state(checkpoint: Path, advice: str) -> CheckpointState:
    """The state in the folder of a checkpoint.

    Raises:
        RunError: It is missing, of another schema, or not what any version wrote; `advice` follows.
    """
    path = checkpoint / "state.json"
    record = cast(Mapping[str, Any], read_json(path, advice))
    schema = record.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise RunError(
            f"{checkpoint} has schema {json.dumps(schema)[:40]}, this version reads {SCHEMA}; "
            "resume it with the version that wrote it."
        )
    wrong = _first_problem(record)
    if wrong:
        raise RunError(f"{path} was damaged or edited ({wrong}): {advice}")
    return CheckpointState(
        record["round"],
        record["method"],
        Usage(**record["spent"]),
        record["logs"],
        bool(record.get("manifest", False)),
    )


def _first_problem(record: Mapping[str, Any]) -> str:
    """The first field that is wrong, and how; "" where all are right."""
    for name in ("round", "method", "spent", "logs"):
        if name not in record:
            return f"it has no '{name}'"
    for name in ("method", "spent", "logs"):
        if not isinstance(record[name], dict):
            return f"'{name}' is {_kind(record[name])} instead of an object"
    if not _counts(record["round"], whole=True):
        return f"'round' is {_kind(record['round'])} instead of a count"
    if not isinstance(record.get("manifest", False), bool):
        return f"'manifest' is {_kind(record['manifest'])} instead of true"
    for log in LOGS:
        if log not in record["logs"]:
            return f"it has no 'logs.{log}'"
    known = {"spent": {field.name for field in fields(Usage)}, "logs": set(LOGS)}
    for part, names in known.items():
        for name, value in record[part].items():
            if name not in names:
                return f"'{part}.{name}' is not known to this version"
            if not _counts(value, whole=not name.endswith("_seconds")):
                return f"'{part}.{name}' is {_kind(value)} instead of a count"
    return ""


def _counts(value: object, whole: bool) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, float):
        return not whole and math.isfinite(value) and value >= 0
    return isinstance(value, int) and value >= 0


def _kind(value: object) -> str:
    """The value's kind in words, and for a number itself."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return str(value)[:40]
    return (
        "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"
    )
