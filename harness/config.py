"""The request: typed sections, few knobs, strict reading, a TOML that round-trips.

Precedence, weakest first: defaults, preset, `--config`, `--set` and flags. Whatever is not known is
an error with a suggestion; nothing is accepted and ignored.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from harness.errors import UsageError, unknown, within
from harness.execution_config import EngineSection, check_removed, without_removed
from harness.policies.base import Sampling
from harness.policies.settings import ModelSettings

Scalar = bool | int | float | str
Table = Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class EnvSection:
    """`[env]`: which world."""

    name: str = "calibration/both"
    data_dir: str = ""
    """Folder of JSONL files to use instead of the Hub."""
    accept_data: bool = False
    """Take data whose fingerprint differs from the pinned one, as a Track of its own."""
    world_seed: int | None = None
    """Which world of a family; unset means the run's seed."""


@dataclass(frozen=True, slots=True)
class BudgetSection:
    """`[budget]`: what training may play. Defaults: E-SPL App. A.5."""

    episodes: int = 3000
    tasks: int = 10
    """B, problems a round."""
    prompts: int = 3
    """M, prompts that play each problem."""
    samples: int = 5
    """N, samples per prompt and problem."""

    def __post_init__(self) -> None:
        within("budget.episodes", self.episodes, 0)
        within("budget.tasks", self.tasks, 1)
        within("budget.prompts", self.prompts, 1)
        within("budget.samples", self.samples, 2)


@dataclass(frozen=True, slots=True)
class EvaluationSection:
    """`[evaluation]`: how the test split is played, once."""

    tasks: int = 0
    """Test tasks; 0 plays all of them."""
    samples: int = 4
    temperature: float = 0.7
    top_p: float = 1.0

    def __post_init__(self) -> None:
        within("evaluation.tasks", self.tasks, 0)
        within("evaluation.samples", self.samples, 1)
        within("evaluation.temperature", self.temperature, 0, 100)
        within("evaluation.top_p", self.top_p, 1e-6, 1)


@dataclass(frozen=True, slots=True)
class ReflectionSection:
    """`[reflection]`: who writes mutations and crossovers, and how."""

    model: str = "reference"
    """"reference" (weights as at the start, E-SPL Fig. 15), "current", or another model's URL."""
    temperature: float = 0.7
    top_p: float = 1.0
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        within("reflection.temperature", self.temperature, 0, 100)
        within("reflection.top_p", self.top_p, 1e-6, 1)
        within("reflection.max_tokens", self.max_tokens, 1)


@dataclass(frozen=True, slots=True)
class RunSection:
    """`[run]`: what belongs to this one run."""

    seed: int = 0
    prompt: str | None = None
    """The root prompt's text; unset means the world's own briefing."""
    placement: Literal["system", "user"] = "system"

    def __post_init__(self) -> None:
        within("run.seed", self.seed, 0)


@dataclass(frozen=True, slots=True)
class PricesSection:
    """`[prices]`: what a million sampled tokens cost you; unset is unknown, and never guessed."""

    currency: str = ""
    """As it is told beside the cost, like USD; needed with a price."""
    acting: float | None = None
    """Of the model that plays."""
    reflection: float | None = None
    """Of the model that reflects."""

    def __post_init__(self) -> None:
        told = [p for p in (self.acting, self.reflection) if p is not None]
        for price in told:
            within("prices", price, 0)
        if bool(told) != bool(self.currency.strip()) or len(self.currency) > 12:
            raise UsageError(
                "Prices need a currency of 12 characters or less, and a currency a price: "
                "--set prices.currency=USD --set prices.acting=0.60 --set prices.reflection=2.00."
            )


_SECTIONS: Mapping[str, type] = {
    "env": EnvSection,
    "model": ModelSettings,
    "sampling": Sampling,
    "budget": BudgetSection,
    "evaluation": EvaluationSection,
    "reflection": ReflectionSection,
    "run": RunSection,
    "prices": PricesSection,
    "engine": EngineSection,
}

_NOT_WORLD: Mapping[str, str] = {
    "accept_data": "write --accept-data",
    "data_dir": "write --data-dir FOLDER",
    "split": "leave it out: training plays train, and testing test",
    "world_seed": "write --set env.world_seed=N",
}


@dataclass(frozen=True, slots=True)
class Config:
    """All of one run's request.

    `method_table` is read by the method that `method` names, `world_table` (`[world]`) by the
    world that `env.name` names: each takes what settings it likes and refuses the rest.
    """

    env: EnvSection = field(default_factory=EnvSection)
    model_url: str = "pocket"
    model: ModelSettings = field(default_factory=ModelSettings)
    method: str = "espl"
    method_table: Table = field(default_factory=dict)
    world_table: Table = field(default_factory=dict)
    sampling: Sampling = field(default_factory=Sampling)
    budget: BudgetSection = field(default_factory=BudgetSection)
    evaluation: EvaluationSection = field(default_factory=EvaluationSection)
    reflection: ReflectionSection = field(default_factory=ReflectionSection)
    run: RunSection = field(default_factory=RunSection)
    prices: PricesSection = field(default_factory=PricesSection)
    engine: EngineSection = field(default_factory=EngineSection)

    def to_tables(self) -> dict[str, dict[str, Scalar]]:
        """As the sections of a TOML file."""
        tables = {name: dict(asdict(getattr(self, name))) for name in _SECTIONS}
        tables["model"] = {"url": self.model_url, **tables["model"]}
        tables["method"] = {"name": self.method, **self.method_table}
        if self.world_table:
            tables["world"] = dict(self.world_table)
        if self.engine == EngineSection():
            del tables["engine"]  # how a run is computed is said where it is not the usual way
        return {s: {k: v for k, v in table.items() if v is not None} for s, table in tables.items()}


def build(cls: type[Any], table: Mapping[str, object], section: str) -> Any:
    """Fill a flat dataclass from a table; unknown keys and wrong types are usage errors."""
    hints = get_type_hints(cls)
    names = [f.name for f in fields(cls)]
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in names:
            raise unknown(f"setting [{section}]", key, names)
        values[key] = _typed(value, hints[key], f"{section}.{key}")
    return cls(**values)


def _typed(value: object, hint: Any, name: str) -> object:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise unknown(f"value of {name}", str(value), map(str, get_args(hint)))
        return value
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)]
    if kinds == [float] and type(value) is int:
        return float(value)
    if type(value) not in kinds:
        raise UsageError(
            f"{name} is {value!r}, but should be of type {kinds[0].__name__}; "
            f"write it as in --set {name}={kinds[0]() or '...'}."
        )
    return value


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
        value = raw
    return section, key, value if isinstance(value, bool | int | float | str) else raw


def merge(*layers: Mapping[str, Mapping[str, Scalar]]) -> dict[str, dict[str, Scalar]]:
    """Lay sections over each other; later layers win key by key."""
    merged: dict[str, dict[str, Scalar]] = {}
    for layer in layers:
        for section, table in layer.items():
            merged.setdefault(section, {}).update(table)
    return merged


def from_tables(tables: Mapping[str, Mapping[str, Scalar]]) -> Config:
    """Build the request from sections; a section that does not exist is a usage error."""
    for name in tables:
        if name not in {*_SECTIONS, "method", "world"}:
            raise unknown("section", name, [*_SECTIONS, "method", "world"])
    check_removed(tables.get("engine", {}))
    tables = {**tables, "engine": without_removed(tables.get("engine", {}))}
    model = dict(tables.get("model", {}))
    method = dict(tables.get("method", {}))
    url, chosen = model.pop("url", "pocket"), method.pop("name", "espl")
    parts = {s: build(cls, tables.get(s, {}), s) for s, cls in _SECTIONS.items() if s != "model"}
    parts["model"] = build(ModelSettings, model, "model")
    world = _world(tables.get("world", {}))
    return Config(
        model_url=str(url), method=str(chosen), method_table=method, world_table=world, **parts
    )


def _world(table: Mapping[str, object]) -> Table:
    """The options of a world: any name but those that are set elsewhere, and plain values."""
    plain: dict[str, Scalar] = {}
    for key, value in table.items():
        if key in _NOT_WORLD:
            raise UsageError(f"world.{key} is no option of a world; {_NOT_WORLD[key]}.")
        if not isinstance(value, bool | int | float | str):
            raise UsageError(
                f"world.{key} is {value!r}, but should be a number, a text, true or false; "
                f"write it as in --set world.{key}=3."
            )
        plain[key] = value
    return plain


def read_toml(path: Path) -> dict[str, dict[str, Scalar]]:
    """Read a config file; errors name the file and the line."""
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


def presets() -> tuple[str, ...]:
    """The names of the presets that come with the harness."""
    folder = files("harness") / "presets"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir()))


def preset(name: str, env: str = "") -> dict[str, dict[str, Scalar]]:
    """A preset's sections over those it extends, with what it sets for this environment alone."""
    if name not in presets():
        raise unknown("preset", name, presets())
    text = (files("harness") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    tables: dict[str, Any] = tomllib.loads(text)
    own: Mapping[str, Any] = tables.pop("per_env", {})
    below = preset(tables.pop("extends"), env) if "extends" in tables else {}
    return merge(below, tables, own.get(env, {}))
