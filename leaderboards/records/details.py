"""Details of a run that entries of schema 3 may hold: changed settings, machines, learning curve,
prompts, task texts, backend.

Each list has a largest number of items and each text a largest length (`MOST`, `LONGEST`), so that
an entry stays readable however long its run was.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from leaderboards.records.field_checks import coerce_floats, require, require_range, require_utc
from leaderboards.records.strict_json import JSON, OMITTED_AT, canonical

MOST: Mapping[str, int] = {
    "segments": 200,
    "execution_changes": 200,
    "participants": 200,
    "learning_curve": 2_000,
    "population": 2_000,
    "task_texts": 10_000,
    "backend": 64,
}
"""The largest number of items by field of an entry."""
LONGEST: Mapping[str, int] = {
    "segments": 1 << 20,
    "execution_changes": 1 << 20,
    "participants": 1 << 20,
    "learning_curve": 1 << 20,
    "population": 1 << 22,
    "task_texts": 1 << 24,
    "backend": 1 << 16,
}
"""The largest size by field of an entry, in characters of its canonical JSON."""
_MOST_CHANGES = 200  # of settings in one segment
_MOST_VERSIONS = 64  # named by one participant
_MOST_PRINCIPLES = 200  # of one prompt
_MOST_PARENTS = 16


def detail(empty: Sequence[Any] | Mapping[str, Any]) -> Any:
    """Declare a field of an entry that files leave out where it is empty; older schemas lack it."""
    if isinstance(empty, Mapping):
        return field(default_factory=dict, metadata={OMITTED_AT: {}})
    return field(default=(), metadata={OMITTED_AT: []})


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A setting that got another value; None is a setting that was not set."""

    key: str
    old: JSON
    new: JSON

    def __post_init__(self) -> None:
        require("." in self.key, "key", "must be a section and a key, like method.learning_rate")
        require(canonical(self.old) != canonical(self.new), "new", "must differ from the old value")


@dataclass(frozen=True, slots=True)
class SettingsSegment:
    """Settings that changed before an iteration; iterations are counted from 0."""

    iteration: int
    changes: tuple[SettingChange, ...]

    def __post_init__(self) -> None:
        require_range(self, 0, "iteration")
        number = len(self.changes)
        problem = f"must hold 1 to {_MOST_CHANGES} changes, but holds {number}"
        require(1 <= number <= _MOST_CHANGES, "changes", problem)
        keys = {change.key for change in self.changes}
        require(len(keys) == number, "changes", "must name each setting once")


@dataclass(frozen=True, slots=True)
class Participant:
    """Code on a machine that computed a part of a run.

    `iteration` is the first that it computed, `started` the time of its first start in UTC, and
    `starts` the number of its starts. `machine` is the kind of machine, `processor` and
    `accelerator` are names of models, "" where unknown or absent. `commit` is "" outside a
    checkout.
    """

    iteration: int
    started: str
    starts: int
    commit: str
    dirty: bool
    versions: Mapping[str, str]
    machine: str
    processor: str
    accelerator: str
    device: str
    threads: int

    def __post_init__(self) -> None:
        require_utc(self.started, "started")
        require_range(self, 0, "iteration", "threads")
        require_range(self, 1, "starts")
        problem = f"must name at most {_MOST_VERSIONS} packages, but names {len(self.versions)}"
        require(len(self.versions) <= _MOST_VERSIONS, "versions", problem)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """An iteration of training: its mean reward, and what the run had spent by its end."""

    iteration: int
    reward: float | None
    episodes: int
    acting_tokens: int
    reflection_tokens: int
    gradient_steps: int
    seconds: float

    def __post_init__(self) -> None:
        coerce_floats(self, "reward", "seconds")
        require_range(self, 0, "iteration", "episodes", "acting_tokens", "reflection_tokens")
        require_range(self, 0, "gradient_steps", "seconds")
        if self.reward is not None:
            require_range(self, -1e15, "reward")


@dataclass(frozen=True, slots=True)
class PopulationPrompt:
    """A prompt that was in the run's population: text, parents, and its last rating.

    `mu` and `sigma` are None for a method without ratings; `generation` is the iteration that made
    the prompt, and `evaluations` counts the iterations that used it.
    """

    id: str
    principles: tuple[str, ...]
    parents: tuple[str, ...]
    origin: str
    generation: int
    mu: float | None
    sigma: float | None
    evaluations: int

    def __post_init__(self) -> None:
        coerce_floats(self, "mu", "sigma")
        require_range(self, 0, "generation", "evaluations")
        for name, most in (("principles", _MOST_PRINCIPLES), ("parents", _MOST_PARENTS)):
            count = len(getattr(self, name))
            require(count <= most, name, f"must hold at most {most} items, but holds {count}")
        require((self.mu is None) == (self.sigma is None), "sigma", "must be null where mu is")
        if self.mu is not None:
            require_range(self, -1e15, "mu")
            require_range(self, 0, "sigma")


@dataclass(frozen=True, slots=True)
class TaskText:
    """The text of a test task, from an environment that allows its texts to be published."""

    task: str
    text: str


def check_sizes(fields: Iterable[tuple[str, Any]]) -> None:
    """Check encoded fields of an entry against their largest sizes."""
    for name, value in fields:
        count = len(value)
        problem = f"must hold at most {MOST[name]:,} items, but holds {count:,}"
        require(count <= MOST[name], name, problem)
        if count:
            size = len(canonical(value))
            problem = f"must take at most {LONGEST[name]:,} characters, but takes {size:,}"
            require(size <= LONGEST[name], name, problem)


def check_order(
    segments: Sequence[SettingsSegment],
    execution_changes: Sequence[SettingsSegment],
    curve: Sequence[CurvePoint],
    population: Sequence[PopulationPrompt],
    texts: Sequence[TaskText],
    tasks: frozenset[str],
) -> None:
    """Check that iterations do not go back, and that prompts and tasks are named once."""
    for name, changed in (("segments", segments), ("execution_changes", execution_changes)):
        iterations = [one.iteration for one in changed]
        require(iterations == sorted(iterations), name, "must be in the order of iterations")
    iterations = [point.iteration for point in curve]
    rising = iterations == sorted(set(iterations))
    require(rising, "learning_curve", "must hold each iteration once, in order")
    ids = {prompt.id for prompt in population}
    require(len(ids) == len(population), "population", "must hold each prompt once")
    named = {one.task for one in texts}
    require(len(named) == len(texts), "task_texts", "must hold each task once")
    require(named <= tasks, "task_texts", "must hold tasks of the outcomes alone")


def thinned(items: Sequence[Any], most: int) -> Iterator[Any]:
    """At most `most` items, evenly spread, the last one included."""
    step = -(-len(items) // most) or 1
    yield from items[(len(items) - 1) % step :: step]
