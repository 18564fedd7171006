"""Every key of the configuration with its description, for people and for editors."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.settings.fields import Setting, describe
from harness.settings.old_names import SECTIONS

_URL = Setting(
    "url",
    "str",
    "pocket",
    "Model: an embedded one, or a URL such as hf:ORG/NAME; see harness model list.",
)
_METHOD = Setting("name", "str", "espl", "Method; see harness method list.")

Catalog = Mapping[str, Mapping[str, Setting]]
"""Settings by section and key."""


@dataclass(frozen=True, slots=True)
class NamedOptions:
    """The options of a method or an environment, by key.

    `prefix` is the beginning of all names that take them, as "jsonl:"; "" for `name` alone.
    """

    name: str
    options: Mapping[str, Setting]
    prefix: str = ""


def catalog(method: type[Any] | None = None) -> Catalog:
    """The settings of every section; those of a method too where its class is given."""
    found = {name: dict(describe(cls)) for name, cls in SECTIONS.items()}
    found["model"] = {"url": _URL, **found["model"]}
    found["method"] = {"name": _METHOD, **(describe(method) if method else {})}
    return found


def about(section: str) -> str:
    """One line about a section."""
    if section == "method":
        return "The method and its own settings."
    text = " ".join((SECTIONS[section].__doc__ or "").split()).removeprefix(f"`[{section}]`: ")
    return text[:1].upper() + text[1:]


def schema(methods: Mapping[str, type[Any]], envs: Iterable[NamedOptions]) -> Any:
    """The JSON schema of a configuration file, for editors.

    `methods` are the settings classes by name, `envs` the options of environments: which of them
    a file may set depends on `method.name` and `env.name`.
    """
    sections = {
        section: {
            "type": "object",
            "description": about(section),
            "properties": _properties(settings),
            "additionalProperties": section == "env",
        }
        for section, settings in catalog().items()
    }
    by_method = [NamedOptions(name, describe(cls)) for name, cls in methods.items()]
    sections["method"] = _by_name(sections["method"], by_method, closed=True)
    sections["env"] = _by_name(sections["env"], list(envs), closed=False)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of harness run",
        "type": "object",
        "properties": sections,
        "additionalProperties": False,
    }


def _by_name(
    section: dict[str, Any], choices: Sequence[NamedOptions], closed: bool
) -> dict[str, Any]:
    """A section whose other keys depend on its `name`; a name that is not listed may set any."""
    shared = section["properties"]
    rules = []
    for one in choices:
        then: dict[str, Any] = {"properties": {**shared, **_properties(one.options)}}
        named = {"pattern": f"^{re.escape(one.prefix)}"} if one.prefix else {"const": one.name}
        if closed:
            then["additionalProperties"] = False
        # Without "required", a section that leaves the name out would match every rule.
        rules.append(
            {
                "if": {"properties": {"name": named}, "required": ["name"]},
                "then": then,
            }
        )
    name_key = {**shared["name"], "examples": [one.name for one in choices]}
    return {
        **section,
        "properties": {**shared, "name": name_key},
        "additionalProperties": True,
        "allOf": rules,
    }


_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}


def _properties(settings: Mapping[str, Setting]) -> dict[str, Any]:
    return {key: _property(setting) for key, setting in settings.items()}


def _property(setting: Setting) -> dict[str, Any]:
    facts: dict[str, Any] = {"description": setting.meaning}
    if setting.type in _TYPES:
        facts["type"] = _TYPES[setting.type]
    if setting.choices:
        facts["enum"] = list(setting.choices)
    if setting.low is not None:
        facts["minimum"] = setting.low
    if setting.high is not None:
        facts["maximum"] = setting.high
    if setting.type == "int" and setting.high is None:
        # TOML's integers have 64 bits.
        facts["maximum"] = 2**63 - 1
    if setting.default is not None:
        facts["default"] = setting.default
    facts["x-class"] = setting.kind
    for name, value in (("x-unit", setting.unit), ("x-paper", setting.paper)):
        if value:
            facts[name] = value
    return facts


def markdown(methods: Mapping[str, type[Any]], envs: Iterable[NamedOptions]) -> str:
    """The page docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "This page is written by `harness config --markdown > docs/settings.md`; do not edit it.",
        "",
        "A setting is given in a TOML file (`--config`), by `--set section.key=value`, or by a flag"
        " where it has",
        "one. Weakest first: default, preset, file, `--set`, flag. An unknown key or value is an"
        " error that names",
        "the choices. A key of the class *measured* says what is measured and belongs to a result;"
        " one of the",
        "class *execution* says how it is computed. `harness config KEY` shows one key.",
    ]
    for section, settings in catalog().items():
        if section != "method":
            lines += ["", f"## [{section}]", "", about(section), "", *_table(section, settings)]
    lines += ["", "## Options of environments", ""]
    lines.append("Each is a key of `[env]`. `harness env show NAME` prints those of one of them.")
    for one in envs:
        lines += ["", f"### {one.name}", "", *_env_lines(one.options)]
    lines += ["", "## [method]", "", "`name` chooses the method; the other keys are the method's."]
    for name, cls in methods.items():
        settings = describe(cls)
        lines += ["", f"### {name}", "", " ".join((cls.__doc__ or "").split()), ""]
        lines += _table("method", settings) if settings else ["It has no settings."]
    return "\n".join(lines) + "\n"


def _env_lines(options: Mapping[str, Setting]) -> list[str]:
    """The options of an environment; those that stand under `[env]` are only named."""
    shared = describe(SECTIONS["env"])
    own = {key: setting for key, setting in options.items() if key not in shared}
    named = ", ".join(f"`env.{key}`" for key in options if key in shared)
    lines = [f"Reads {named}, described above."] if named else []
    if own:
        lines += ["", *_table("env", own)] if lines else _table("env", own)
    return lines or ["It has no options."]


def _table(section: str, settings: Mapping[str, Setting]) -> list[str]:
    rows = ["| key | default | values | meaning | class |", "|---|---|---|---|---|"]
    for key, setting in settings.items():
        values = f"{setting.values} ({setting.unit})" if setting.unit else setting.values
        meaning = f"{setting.meaning} {setting.paper}".strip()
        default = "must be given" if setting.required else f"`{setting.shown_default}`"
        cells = (f"`{section}.{key}`", default, values, meaning, setting.kind)
        # A bare bar would end the cell.
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows
