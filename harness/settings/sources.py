"""Sources of settings: presets, TOML files and `--set`, laid over each other."""

import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.errors import UsageError, unknown

Scalar = bool | int | float | str


def parse_set(text: str) -> tuple[str, str, Scalar]:
    """Read `section.key=value` as given to --set; the value is TOML, or plain text."""
    name, equals, raw = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise UsageError(
            f"--set takes section.key=value, as in method.learning_rate=1e-5; got {text!r}."
        )
    value: object
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        # Text needs no quotes on a command line.
        value = raw
    # What TOML reads as a date or a list is text here: settings are single values.
    return section, key, value if isinstance(value, bool | int | float | str) else raw


def read_sets(texts: Iterable[str]) -> dict[str, dict[str, Scalar]]:
    """The sections that several `--set` make; of two that set one key, the last counts."""
    return merge(*({section: {key: value}} for section, key, value in map(parse_set, texts)))


def merge(*layers: Mapping[str, Mapping[str, Scalar]]) -> dict[str, dict[str, Scalar]]:
    """Lay sections over each other; later layers win key by key."""
    merged: dict[str, dict[str, Scalar]] = {}
    for layer in layers:
        for section, table in layer.items():
            merged.setdefault(section, {}).update(table)
    return merged


def read_toml(path: Path) -> dict[str, dict[str, Scalar]]:
    """Read a config file; errors name the file and the line."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise UsageError(f"{path} is no regular file; name one, or remove it.")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; check --config.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}; mend it and try again.") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path} sets '{name}' outside of a section; write [{name}] above it.")
    return tables


def preset_names() -> tuple[str, ...]:
    """The names of the presets that come with the harness."""
    folder = files("harness") / "presets"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir()))


def read_preset(name: str, env: str = "") -> dict[str, dict[str, Scalar]]:
    """A preset's sections over those it extends, with what it sets for this environment alone."""
    if name not in preset_names():
        raise unknown("preset", name, preset_names())
    text = (files("harness") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    tables: dict[str, Any] = tomllib.loads(text)
    own: Mapping[str, Any] = tables.pop("per_env", {})
    below = read_preset(tables.pop("extends"), env) if "extends" in tables else {}
    return merge(below, tables, own.get(env, {}))
