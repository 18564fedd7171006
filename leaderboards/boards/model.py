"""The data of a leaderboard: its rows, costs, differences and contrasts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from leaderboards.records.entry import Entry, Track
from leaderboards.records.strict_json import JSON
from leaderboards.stats.intervals import Interval
from leaderboards.stats.scores import Estimate, PassAtK

ENOUGH_SEEDS = 5  # fewer make a row provisional


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run cost, on average over the row's seeds."""

    episodes: float
    acting_tokens: float
    reflection_tokens: float
    evaluation_tokens: float
    evaluation_episodes: float
    gradient_steps: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Money:
    """What a run's sampled training tokens cost on average, at the prices its runs recorded."""

    currency: str
    amount: float


@dataclass(frozen=True, slots=True)
class Row:
    """A method with its settings, over its seeds.

    `scores` pairs each seed with its score (None where nothing was scored). `bounds` is where the
    score would lie if every unscored outcome were wrong, or right; None where rewards are not
    within [0, 1]. `rank` is the place by score alone, `ranks` the best and the worst rank that the
    seeds leave open; both are None where there is no score. `settings` are those in which the row
    differs from the board's other rows of its method.
    """

    method: str
    config: Mapping[str, JSON]
    entries: tuple[Entry, ...]
    scores: tuple[tuple[int, float | None], ...]
    of_method: Estimate
    of_agent: Estimate
    passes: PassAtK | None
    cost: Cost
    money: Money | None
    outcomes: int
    unscored: int
    truncated: int
    bounds: tuple[float, float] | None
    warnings: tuple[str, ...]
    rank: int | None = None
    ranks: tuple[int, int] | None = None
    settings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The method, and what tells it from the board's other rows of that method."""
        return f"{self.method} ({', '.join(self.settings)})" if self.settings else self.method

    @property
    def score(self) -> float | None:
        """The mean over seeds of each seed's score: what rows are ranked by."""
        return self.of_method.value

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds counted."""
        return tuple(seed for seed, _ in self.scores)

    @property
    def provisional(self) -> bool:
        """True where too few seeds were trained to trust the order."""
        return len(self.scores) < ENOUGH_SEEDS


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which two Tracks differ, and its two values."""

    field: str
    here: JSON
    there: JSON


@dataclass(frozen=True, slots=True)
class Contrast:
    """The mean difference of two rows over the seeds they share, and its paired t interval.

    `p` is that of the paired t test, `holm` the same adjusted for all contrasts of the board.
    """

    label: str
    value: float
    interval: Interval | None
    seeds: int
    reason: str = ""
    p: float | None = None
    holm: float | None = None


@dataclass(frozen=True, slots=True)
class AtTokens:
    """A row against the weights-only method at as many sampled tokens as the row's runs spent.

    `tokens` is their mean; `value` is None where that is not known, and `reason` says why.
    """

    label: str
    tokens: float
    value: float | None
    interval: Interval | None
    seeds: int
    reason: str = ""
    p: float | None = None
    holm: float | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """The rows of one Track, best first. `unit` is True where all rewards lie within [0, 1]."""

    track: Track
    rows: tuple[Row, ...]
    unit: bool
    at_tokens: tuple[AtTokens, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """The world's options that every run was asked with, as "numbers=31"."""
        asked = [_options(entry.provenance.command) for row in self.rows for entry in row.entries]
        return tuple(o for o in (asked[0] if asked else ()) if all(o in each for each in asked))


def _options(command: Sequence[str]) -> tuple[str, ...]:
    """What stands after `--set world.`."""
    said = (value for word, value in pairwise(command) if word == "--set")
    found = (value.removeprefix("world.") for value in said if value.startswith("world."))
    return tuple("=".join(part.strip() for part in text.split("=", 1)) for text in found)


def why_not(here: Track, there: Track) -> tuple[Difference, ...]:
    """Why rows of two Tracks cannot be ranked together; empty if they can."""
    return tuple(
        Difference(name, getattr(here, name), getattr(there, name)) for name in here.differs(there)
    )
