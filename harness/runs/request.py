"""The request of a run: built with its method's settings, written down, and read back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

import agents
from harness.errors import RunError, UsageError
from harness.settings.config import Config, from_tables
from harness.settings.executor import without_removed
from harness.settings.old_names import Tables, modern
from harness.settings.sources import Scalar, read_toml
from harness.storage.atomic_files import write_text


def build_request(tables: Mapping[str, Mapping[str, Scalar]]) -> Config:
    """The configuration in these sections; every setting is checked, the method's included."""
    return from_tables(tables, agents.config_type)


def write_request(request: Config, folder: Path) -> None:
    """Write the request down before anything else happens."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.toml", tomli_w.dumps(request.to_tables(), multiline_strings=True))


def read_tables(folder: Path) -> Tables:
    """The sections of an existing run's request, under today's names."""
    return _modern(_written(folder))


def _written(folder: Path) -> Tables:
    path = folder / "config.toml"
    if path.exists() and not path.is_file():  # a named pipe would be waited for
        raise RunError(f"{path} is no file; restore it.")
    return read_toml(path)


def _modern(tables: Tables) -> Tables:
    # A run that was written down before there was this setting had no adapter on experts.
    tables = {**tables, "model": {"lora_experts": False, **tables.get("model", {})}}
    found = _installed(str(tables.get("method", {}).get("name", "espl")))
    return modern(tables, [found] if found else [])[0]


def read_request(folder: Path) -> Config:
    """The request of an existing run; without executor options that only earlier versions had.

    A run of a method that is not installed here can still be shown: its settings are left out, and
    whoever needs the method gets the registry's error.
    """
    return request_of(_written(folder))


def request_of(tables: Tables) -> Config:
    """The request in the sections that a run wrote down, now or with an earlier version."""
    tables = _modern(tables)
    kept = {**tables, "executor": without_removed(tables.get("executor", {}))}
    return from_tables(kept, _installed)


def _installed(method: str) -> type[Any] | None:
    try:
        return agents.config_type(method)
    except UsageError:
        return None
