"""The sections of a configuration that say what is measured; `[model]` and `[executor]` lie apart.

Each is a frozen dataclass that pydantic checks. See `harness.settings.fields` for annotations.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from harness.errors import UsageError
from harness.policies.base import Sampling
from harness.settings.build import Settings, settings
from harness.settings.fields import EXECUTES, Formerly, Paper, UnitName

Scalar = bool | int | float | str
Table = Mapping[str, Scalar]

USUAL_REFLECTION = 1024
"""Tokens of a reflection by a model that does not think first."""
_PAPER = Paper("E-SPL App. A.5")


@settings
class EnvSection(Settings):
    """`[env]`: the environment; every other key is an option of the environment itself."""

    section: ClassVar[str] = "env"

    name: str = "calibration/both"
    """Name of the environment: one of `harness env list`, or any Gymnasium id."""
    data_dir: Annotated[str, EXECUTES] = ""
    """Folder of JSONL files to read instead of the Hub."""
    accept_data: bool = False
    """Accept data whose fingerprint differs from the pinned one; results have a Track of their
    own."""
    task_seed: Annotated[int | None, Ge(0), Formerly("world_seed")] = None
    """Seed of a per-seed task distribution; unset: the run's seed."""


@settings
class SamplingSection(Settings):
    """`[sampling]`: how rollouts are sampled in training."""

    section: ClassVar[str] = "sampling"

    temperature: Annotated[float, Ge(0), Le(100), _PAPER] = 1.0
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Ge(1e-6), Le(1)] = 1.0
    """Nucleus sampling: the probability mass that tokens are drawn from."""
    max_tokens: Annotated[int, Ge(1), Le(10_000_000), UnitName("tokens")] = 256
    """Maximum new tokens of one completion."""

    def sampling(self) -> Sampling:
        """These settings as policies take them."""
        return Sampling(self.temperature, self.top_p, self.max_tokens)


@settings
class BudgetSection(Settings):
    """`[budget]`: the training budget, and how it is cut into iterations."""

    section: ClassVar[str] = "budget"

    episodes: Annotated[int, Ge(0), Le(1_000_000_000), UnitName("episodes"), _PAPER] = 3000
    """Episodes that training may use."""
    tasks: Annotated[int, Ge(1), Le(1_000_000), UnitName("tasks"), _PAPER] = 10
    """B: tasks of one iteration."""
    prompts: Annotated[int, Ge(1), Le(10_000), UnitName("prompts"), _PAPER] = 3
    """M: system prompts that are evaluated on each task."""
    samples: Annotated[int, Ge(2), Le(100_000), UnitName("samples"), _PAPER] = 5
    """N: samples for each prompt and task."""


@settings
class EvaluationSection(Settings):
    """`[evaluation]`: the single held-out evaluation at the end."""

    section: ClassVar[str] = "evaluation"

    tasks: Annotated[int, Ge(0), Le(1_000_000), UnitName("tasks")] = 0
    """Test tasks; 0 takes all of them."""
    samples: Annotated[int, Ge(1), Le(100_000), UnitName("samples")] = 4
    """Samples for each test task."""
    temperature: Annotated[float, Ge(0), Le(100), _PAPER] = 0.7
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Ge(1e-6), Le(1)] = 1.0
    """Nucleus sampling: the probability mass that tokens are drawn from."""

    def sampling(self, max_tokens: int) -> Sampling:
        """These settings as policies take them."""
        return Sampling(self.temperature, self.top_p, max_tokens)


@settings
class ReflectionSection(Settings):
    """`[reflection]`: the model that writes mutations and crossovers, and how it is sampled."""

    section: ClassVar[str] = "reflection"

    model: Annotated[str, Formerly(values={"initial": "reference"}), Paper("E-SPL Fig. 15")] = (
        "initial"
    )
    """Reflection model: "initial" (initial weights), "current" (weights being trained), or the
    URL of another model."""
    temperature: Annotated[float, Ge(0), Le(100)] = 0.7
    """Sampling temperature; 0 is greedy."""
    top_p: Annotated[float, Ge(1e-6), Le(1)] = 1.0
    """Nucleus sampling: the probability mass that tokens are drawn from."""
    max_tokens: Annotated[int | None, Ge(1), Le(10_000_000), UnitName("tokens")] = None
    """Maximum new tokens of one reflection. Unset: 1024, or sampling.max_tokens where that is more
    and the reflection model thinks before it answers."""

    @property
    def separate(self) -> bool:
        """True if another model reflects, which shares nothing with the trained one."""
        return self.model not in ("initial", "current")

    def sampling(self) -> Sampling:
        """These settings as policies take them."""
        return Sampling(self.temperature, self.top_p, self.max_tokens or USUAL_REFLECTION)


@settings
class RunSection(Settings):
    """`[run]`: the settings of this one run."""

    section: ClassVar[str] = "run"

    seed: Annotated[int, Ge(0)] = 0
    """Seed of everything that is drawn at random."""
    prompt: str | None = None
    """Text of the initial system prompt; unset: the environment's own."""
    prompt_role: Annotated[Literal["system", "user"], Formerly("placement")] = "system"
    """Role of the message that carries the prompt."""


@settings
class TrackingSection(Settings):
    """`[tracking]`: where experiment trackers (`--tracker`) file a run; no part of a result."""

    section: ClassVar[str] = "tracking"

    project: Annotated[str, EXECUTES] = "espl-harness"
    """Project of the tracker that runs belong to."""
    group: Annotated[str, EXECUTES] = ""
    """Group of runs within the project; unset: none."""
    tags: Annotated[str, EXECUTES] = ""
    """Tags of a run, by comma."""


@settings
class LimitsSection(Settings):
    """`[limits]`: what one run may spend; it stops before an iteration that would exceed it."""

    section: ClassVar[str] = "limits"

    max_cost: Annotated[
        float, Ge(0), Le(1_000_000_000_000), EXECUTES, UnitName("of prices.currency")
    ] = 0.0
    """Cost of all sampled tokens at `[prices]`, from the beginning of the run; 0 sets no limit."""
    max_hours: Annotated[float, Ge(0), Le(1_000_000), EXECUTES, UnitName("hours")] = 0.0
    """Wall-clock time since this process began or resumed the run; 0 sets no limit."""


@settings
class PricesSection(Settings):
    """`[prices]`: the price of a million sampled tokens; unset is unknown, and never guessed."""

    section: ClassVar[str] = "prices"

    currency: Annotated[str, EXECUTES] = ""
    """Currency that costs are shown in, like USD; needed with a price."""
    rollout: Annotated[
        float | None, Ge(0), EXECUTES, UnitName("per million tokens"), Formerly("acting")
    ] = None
    """Price of the model that is evaluated and trained."""
    reflection: Annotated[float | None, Ge(0), EXECUTES, UnitName("per million tokens")] = None
    """Price of the model that reflects."""

    def __post_init__(self) -> None:
        given = self.rollout is not None or self.reflection is not None
        if given != bool(self.currency.strip()) or len(self.currency) > 12:
            raise UsageError(
                "prices.currency of 12 characters or less and a price belong together: write "
                "--set prices.currency=USD --set prices.rollout=0.60 --set prices.reflection=2.00."
            )
