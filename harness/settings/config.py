"""The whole configuration of one run: typed, immutable, a TOML file that reads back as it was.

Precedence, weakest first: defaults, preset, `--config`, `--set` and flags. An unknown key or value
is an error with a suggestion; nothing is accepted and ignored.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.errors import UsageError, unknown
from harness.settings.build import build
from harness.settings.executor import ExecutorSection, check_removed, without_removed
from harness.settings.model import ModelSettings
from harness.settings.old_names import SECTIONS
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
    Table,
    TrackingSection,
)

_NOT_ENV: Mapping[str, str] = {
    "split": "leave it out: training uses train, and the evaluation test",
    "world_seed": "write --set env.task_seed=N",
    "options": "write each option by its own name",
}


@dataclass(frozen=True)
class Config:
    """The configuration of one run.

    `method_settings` is of the class that the method named by `method` declares. `env_options` are
    the keys of `[env]` that the environment itself takes.
    """

    env: EnvSection = field(default_factory=EnvSection)
    env_options: Table = field(default_factory=dict)
    model_url: str = "pocket"
    model: ModelSettings = field(default_factory=ModelSettings)
    method: str = "espl"
    method_settings: Any = None
    sampling: SamplingSection = field(default_factory=SamplingSection)
    budget: BudgetSection = field(default_factory=BudgetSection)
    evaluation: EvaluationSection = field(default_factory=EvaluationSection)
    reflection: ReflectionSection = field(default_factory=ReflectionSection)
    run: RunSection = field(default_factory=RunSection)
    prices: PricesSection = field(default_factory=PricesSection)
    limits: LimitsSection = field(default_factory=LimitsSection)
    tracking: TrackingSection = field(default_factory=TrackingSection)
    executor: ExecutorSection = field(default_factory=ExecutorSection)

    def to_tables(self) -> dict[str, dict[str, Scalar]]:
        """The configuration as the sections of a TOML file."""
        tables = {name: dict(asdict(getattr(self, name))) for name in SECTIONS}
        tables["env"] |= self.env_options
        tables["model"] = {"url": self.model_url, **tables["model"]}
        own = asdict(self.method_settings) if self.method_settings is not None else {}
        tables["method"] = {"name": self.method, **own}
        # Written down only where they are not the usual way.
        if self.executor == ExecutorSection():
            del tables["executor"]
        if self.limits == LimitsSection():
            del tables["limits"]
        if self.tracking == TrackingSection():
            del tables["tracking"]
        return {s: {k: v for k, v in table.items() if v is not None} for s, table in tables.items()}


def from_tables(
    tables: Mapping[str, Mapping[str, Scalar]],
    settings_of: Callable[[str], type[Any] | None] = lambda method: None,
) -> Config:
    """Build the configuration from sections; an unknown section is a usage error.

    `settings_of` gives the class of a method's settings by the method's name. Where it gives none,
    `[method]` is left unread.
    """
    for name in tables:
        if name not in {*SECTIONS, "method"}:
            raise unknown("section", name, [*SECTIONS, "method"])
    check_removed(tables.get("executor", {}))
    tables = {**tables, "executor": without_removed(tables.get("executor", {}))}
    model, method = dict(tables.get("model", {})), dict(tables.get("method", {}))
    url, chosen = model.pop("url", "pocket"), method.pop("name", "espl")
    for key, value in (("model.url", url), ("method.name", chosen)):
        if not isinstance(value, str):
            raise UsageError(f"{key} is {value!r}, but should be a name; see harness {key} list.")
    env, options = env_tables(tables.get("env", {}))
    own = {**tables, "env": env, "model": model}
    parts = {name: build(cls, own.get(name, {}), name) for name, cls in SECTIONS.items()}
    cls = settings_of(str(chosen))
    return Config(
        env_options=options,
        model_url=str(url),
        method=str(chosen),
        method_settings=None if cls is None else build(cls, method, "method"),
        **parts,
    )


def env_tables(table: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, Scalar]]:
    """The keys of `[env]` that the harness reads, and those that the environment reads."""
    known = EnvSection.__dataclass_fields__
    plain: dict[str, Scalar] = {}
    for key, value in table.items():
        if key in known:
            continue
        if key in _NOT_ENV:
            raise UsageError(f"env.{key} is no option of an environment; {_NOT_ENV[key]}.")
        if not isinstance(value, bool | int | float | str) or _odd(value):
            raise UsageError(
                f"env.{key} is {str(value)[:60]}, but should be a finite number, a text, true or "
                f"false; write it as in --set env.{key}=3."
            )
        plain[key] = value
    return {key: value for key, value in table.items() if key in known}, plain


def _odd(value: Scalar) -> bool:
    """True for a number that is NaN, infinite or beyond 64 bits."""
    return isinstance(value, int | float) and not abs(value) < 2**63
