"""The origin and the cost of an entry's numbers: code, machine, command, tokens, prices."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from leaderboards.records.field_checks import coerce_floats, require, require_range, require_utc


@dataclass(frozen=True, slots=True)
class Spent:
    """The cost of the run.

    Tokens are sampled tokens: `acting_tokens` in rollouts, `reflection_tokens` in reflection.
    `episodes` counts those before the selected prompt was frozen, validation included; `seconds`
    are of wall clock.
    """

    episodes: int
    acting_tokens: int
    reflection_tokens: int
    evaluation_tokens: int
    evaluation_episodes: int
    gradient_steps: int
    seconds: float

    def __post_init__(self) -> None:
        coerce_floats(self, "seconds")
        require_range(self, 0, *(f.name for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of a million sampled tokens, as the run's configuration gave it; None if unknown.

    Prices are never guessed. Prompt tokens are not counted, so they have no price.
    """

    currency: str
    acting: float | None
    reflection: float | None

    def __post_init__(self) -> None:
        coerce_floats(self, "acting", "reflection")
        named = bool(self.currency.strip()) and len(self.currency) <= 12
        require(named, "currency", "must name the currency in 12 characters or less, like USD")
        require_range(
            self, 0, *(n for n in ("acting", "reflection") if getattr(self, n) is not None)
        )

    def of(self, spent: Spent) -> float | None:
        """The cost of training; None if the price of sampled tokens is missing."""
        parts = ((spent.acting_tokens, self.acting), (spent.reflection_tokens, self.reflection))
        if any(tokens and price is None for tokens, price in parts):
            return None
        return sum(tokens * (price or 0.0) for tokens, price in parts) / 1e6


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of the numbers: code, machine, command.

    `commit` is "" outside a checkout; `created` is a time in UTC, ISO 8601.
    """

    commit: str
    dirty: bool
    versions: Mapping[str, str]
    device: str
    threads: int
    created: str
    command: tuple[str, ...]
    prices: Prices | None = None

    def __post_init__(self) -> None:
        require_utc(self.created, "created")
        require_range(self, 1, "threads")
