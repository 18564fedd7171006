"""The data of a leaderboard: rows, costs, contrasts, differences between Tracks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from leaderboards.records.entry import Entry, Track
from leaderboards.records.strict_json import JSON
from leaderboards.stats.intervals import Interval
from leaderboards.stats.scores import Estimate, PassAtK, Result

ENOUGH_SEEDS = 5  # fewer make a row provisional


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one run, averaged over the row's seeds."""

    episodes: float
    acting_tokens: float
    reflection_tokens: float
    evaluation_tokens: float
    evaluation_episodes: float
    gradient_steps: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Money:
    """The mean cost of a run's sampled training tokens, at the prices its runs recorded."""

    currency: str
    amount: float


@dataclass(frozen=True, slots=True)
class Row:
    """A method with its settings, over its seeds.

    `scores` pairs each seed with its score (None where nothing was scored). `bounds` are the scores
    if every unscored outcome were wrong, or correct; None where rewards leave [0, 1]. `rank` is the
    position by score alone, which rows share as far as unscored outcomes leave it open; `ranks` is
    the rank interval (best, worst); both are None without a score. `results` belong to `entries`.
    `settings` are those in which the row differs from the leaderboard's other rows of its method.
    """

    method: str
    config: Mapping[str, JSON]
    entries: tuple[Entry, ...]
    results: tuple[Result, ...]
    scores: tuple[tuple[int, float | None], ...]
    seed_estimate: Estimate
    item_estimate: Estimate
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
        """The method, with the settings that distinguish it from the other rows of that method."""
        return f"{self.method} ({', '.join(self.settings)})" if self.settings else self.method

    @property
    def score(self) -> float | None:
        """The mean over seeds of each seed's score; rows are ranked by it."""
        return self.seed_estimate.value

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds counted."""
        return tuple(seed for seed, _ in self.scores)

    @property
    def runs(self) -> dict[int, Result]:
        """The results by training seed."""
        return {one.entry.seed: one for one in self.results}

    @property
    def provisional(self) -> bool:
        """True with too few seeds to trust the order."""
        return len(self.scores) < ENOUGH_SEEDS


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which two Tracks differ, and its two values."""

    field: str
    here: JSON
    there: JSON


@dataclass(frozen=True, slots=True)
class Contrast:
    """The mean difference of two rows over their common seeds, and its paired t interval.

    Each seed's difference is over the tasks that both runs have scored. `p` is of the paired t
    test; `holm` is p adjusted for all contrasts of the leaderboard, the interval is not adjusted.
    `bounds` hold for any reward of the unscored outcomes; None if all are scored.
    """

    label: str
    value: float
    interval: Interval | None
    seeds: int
    reason: str = ""
    p: float | None = None
    holm: float | None = None
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class EqualTokensContrast:
    """A row against the weights-only method at the sampled tokens that the row's runs spent.

    `tokens` is their mean; `value` is None where the difference is unknown, and `reason` says why.
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
    """A leaderboard: the rows of one Track, best first.

    `unit` is True where all rewards lie within [0, 1]. `apart` are runs that are in no row, because
    their settings changed on the way: they ran under no Track of one setting.
    """

    track: Track
    rows: tuple[Row, ...]
    unit: bool
    at_tokens: tuple[EqualTokensContrast, ...] = ()
    apart: tuple[Entry, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """The environment's options common to all runs, as "numbers=31"."""
        given = [_options(entry.provenance.command) for row in self.rows for entry in row.entries]
        return tuple(o for o in (given[0] if given else ()) if all(o in each for each in given))


_NO_OPTIONS = ("task_seed=", "world_seed=")  # each run of a family has its own


def _options(command: Sequence[str]) -> tuple[str, ...]:
    """The environment's options: they stand after `--set env.`, or `world.` in older commands."""
    settings = (value.partition(".") for word, value in pairwise(command) if word == "--set")
    pairs = (text.split("=", 1) for section, _, text in settings if section in ("env", "world"))
    texts = ("=".join(part.strip() for part in pair) for pair in pairs)
    return tuple(text for text in texts if not text.startswith(_NO_OPTIONS))


def track_differences(here: Track, there: Track) -> tuple[Difference, ...]:
    """The fields in which two Tracks differ; empty if their rows can be ranked together."""
    return tuple(
        Difference(name, getattr(here, name), getattr(there, name)) for name in here.differs(there)
    )
