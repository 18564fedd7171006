"""The record of one training run: what was compared (Track), what came of it (Entry).

An entry is one immutable JSON file. It holds the reward of every test task and sample, so that
every printed number can be recomputed by anyone. It never holds a task's text, a host name or a
path, and a record that leaves out an outcome, opens test twice or contradicts itself
cannot be made.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal

from leaderboards.records.migrations import SCHEMA, migrate
from leaderboards.records.redact import redacted
from leaderboards.records.strict_json import (
    JSON,
    RecordError,
    canonical,
    decode,
    encode,
    parse,
    shown,
)

LARGEST = 1e15  # of any quantity, so that sums and squares stay finite

Status = Literal["scored", "unscored", "truncated"]


def tasks_hash(tasks: Iterable[str]) -> str:
    """The hash of a set of task ids, whatever their order: what `Track.test_tasks_hash` holds."""
    return _sha256(canonical(sorted(set(tasks))))


def text_hash(text: str) -> str:
    """The hash of a text, such as the root prompt: what `Track.briefing_hash` holds."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _demand(holds: bool, name: str, problem: str) -> None:
    if not holds:
        raise RecordError(problem, name)


def _floats(record: object, *names: str) -> None:
    """Make 1 the float it stands for, so that equal records have one text and one id."""
    for name in names:
        value = getattr(record, name)
        if value is not None and type(value) is not float:
            object.__setattr__(record, name, float(value))


def _at_least(record: object, least: float, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if not least <= value <= LARGEST:
            raise RecordError(f"must be {least} to {LARGEST:.0e}, but is {shown(value)}", name)


@dataclass(frozen=True, slots=True)
class Track:
    """All that two rows must share to be comparable. Rows rank only within one Track.

    `weights` is the hash of the weights, "" where they cannot be seen. `reflector` is "reference",
    "current" or a policy's name. `engine` is what sampled, `grader` the grader's version. `reduced`
    says why this is a smaller Track than the world's usual one, `family` names the family of worlds
    it belongs to; both are "" otherwise. `max_tokens` counts the sampled tokens of one reply.
    """

    env: str
    env_fingerprint: str
    briefing_hash: str
    model: str
    weights: str
    quantisation: str
    rendering: str
    placement: Literal["system", "user"]
    reflector: str
    engine: str
    mode: Literal["deterministic", "fast"]
    temperature: float
    top_p: float
    max_tokens: int
    eval_temperature: float
    eval_top_p: float
    budget_episodes: int
    test_tasks: int
    test_tasks_hash: str
    samples_per_task: int
    grader: str
    reduced: str = ""
    family: str = ""

    def __post_init__(self) -> None:
        _floats(self, "temperature", "top_p", "eval_temperature", "eval_top_p")
        _at_least(self, 0, "temperature", "eval_temperature", "budget_episodes")
        _at_least(self, 1, "max_tokens", "test_tasks", "samples_per_task")
        for name in ("top_p", "eval_top_p"):
            value = getattr(self, name)
            _demand(0 < value <= 1, name, f"must be above 0 and at most 1, but is {value}")

    @property
    def id(self) -> str:
        """Twelve hex digits of the content's hash."""
        return _sha256(canonical(encode(self)))[:12]

    def differs(self, other: "Track") -> tuple[str, ...]:
        """The names of the fields in which two Tracks differ; empty if they are one Track."""
        return tuple(
            f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one sample of one test task came to.

    `unscored` means that world, grader or sandbox failed: it has no reward, and is never a 0.
    `truncated` was cut off by a limit and then judged as it stood. `reply` is what was answered: a
    text, or of a conversation its replies in order; None where it was not kept. A conversation of
    schema 1 is one text, which does not tell where a reply ends. `tokens` were sampled for it.
    """

    task: str
    sample: int
    status: Status
    reward: float | None
    success: bool | None
    tokens: int
    reply: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.reward is not None and type(self.reward) is not float:
            _floats(self, "reward")
        if (self.reward is None) != (self.status == "unscored"):
            raise RecordError("must be null exactly where the status is 'unscored'", "reward")
        if self.success is not None and self.reward is None:
            raise RecordError("must be null where the status is 'unscored'", "success")
        if self.reward is not None and not abs(self.reward) <= LARGEST:
            _at_least(self, -LARGEST, "reward")
        if not (self.sample >= 0 and 0 <= self.tokens <= LARGEST):
            _at_least(self, 0, "sample", "tokens")


@dataclass(frozen=True, slots=True)
class Spent:
    """What the run cost.

    Tokens are sampled tokens; `episodes` were played before the champion was frozen, validation
    included; `seconds` are of wall clock.
    """

    episodes: int
    acting_tokens: int
    reflection_tokens: int
    evaluation_tokens: int
    evaluation_episodes: int
    gradient_steps: int
    seconds: float

    def __post_init__(self) -> None:
        _floats(self, "seconds")
        _at_least(self, 0, *(f.name for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Prompt:
    """The champion's system prompt."""

    briefing: str = ""
    principles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million sampled tokens cost whoever ran this; None where nobody said.

    They are told, never guessed. Tokens that a model reads are not counted, so not priced.
    """

    currency: str
    acting: float | None
    reflection: float | None

    def __post_init__(self) -> None:
        _floats(self, "acting", "reflection")
        named = bool(self.currency.strip()) and len(self.currency) <= 12
        _demand(named, "currency", "must name the currency in 12 characters or less, like USD")
        _at_least(self, 0, *(n for n in ("acting", "reflection") if getattr(self, n) is not None))

    def of(self, spent: Spent) -> float | None:
        """What training cost; None where a price is missing for tokens that were sampled."""
        parts = ((spent.acting_tokens, self.acting), (spent.reflection_tokens, self.reflection))
        if any(tokens and price is None for tokens, price in parts):
            return None
        return sum(tokens * (price or 0.0) for tokens, price in parts) / 1e6


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the numbers come from.

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
        try:
            offset = datetime.fromisoformat(self.created).utcoffset()
        except ValueError:
            offset = None
        problem = f"must be a UTC time like 2026-01-31T12:00:00Z, but is {shown(self.created)}"
        _demand(offset == timedelta(0), "created", problem)
        _at_least(self, 1, "threads")


@dataclass(frozen=True)
class Entry:
    """One training run and its one opening of test.

    `config` is the method's own settings, without the seed: runs that differ in their seed alone
    are one row. `adapter_hash` is "" where no weights were trained.
    """

    track: Track
    method: str
    config: Mapping[str, JSON]
    seed: int
    outcomes: tuple[Outcome, ...]
    spent: Spent
    prompt: Prompt
    provenance: Provenance
    adapter_hash: str = ""
    policy_version: int = 0
    test_openings: int = 1
    notes: tuple[str, ...] = ()
    schema: int = field(default=SCHEMA)

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", encode(self.config))
        _demand(self.schema == SCHEMA, "schema", f"must be {SCHEMA}, but is {self.schema}")
        _demand(bool(self.method.strip()), "method", "must name the method, but is empty")
        opened = f"must be 1, because test is opened once, but is {self.test_openings}"
        _demand(self.test_openings == 1, "test_openings", opened)
        _at_least(self, 0, "policy_version")
        self._complete()
        for name, text in self._public():
            if redacted(text) != text:
                problem = f"must hold no path or address, but holds {shown(text)}"
                raise RecordError(problem + "; pass it through redacted()", name)

    def _complete(self) -> None:
        """Every task and sample of the Track is there once, failures included."""
        tasks, samples = self.track.test_tasks, self.track.samples_per_task
        cells = {(o.task, o.sample) for o in self.outcomes}
        _demand(
            len(cells) == len(self.outcomes), "outcomes", "must hold each sample of a task once"
        )
        played = {task for task, _ in cells}
        whole = len(played) == tasks and len(cells) == tasks * samples
        problem = (
            f"must hold {tasks} tasks × {samples} samples (0 to {samples - 1}), "
            f"but holds {len(cells)} outcomes of {len(played)} tasks"
        )
        _demand(whole and all(s < samples for _, s in cells), "outcomes", problem)
        same = tasks_hash(played) == self.track.test_tasks_hash
        _demand(same, "track.test_tasks_hash", "must be tasks_hash() of the outcomes' task ids")

    def _public(self) -> Iterator[tuple[str, str]]:
        """Every string but what models wrote, with the name of its field."""
        yield from _strings("track", encode(self.track))
        yield from _strings("method", self.method)
        yield from _strings("config", self.config)
        tasks = {o.task for o in self.outcomes}
        if any(sign in "".join(tasks) for sign in "/\\"):  # without, nothing can be redacted
            yield from _strings("outcomes", sorted(tasks))
        yield from _strings("provenance", encode(self.provenance))
        yield from _strings("notes", list(self.notes))

    def content(self, *, but: str = "") -> dict[str, Any]:
        """Every field but one, as the oldest schema tells it that can: a migration adds nothing to
        what a run was, so its id and its text stay what they were.
        """
        told = {f.name: encode(getattr(self, f.name)) for f in fields(self) if f.name != but}
        apart = any(type(o.reply) is tuple for o in self.outcomes)
        if self.provenance.prices is None and not apart:
            del told["provenance"]["prices"]
            told["schema"] = 1
        return told

    @cached_property
    def id(self) -> str:
        """Sixteen hex digits of the content's hash."""
        return _sha256(canonical(self.content()))[:16]

    def to_json(self) -> str:
        """The file's text: ASCII, so that an editor shows all that it holds; one outcome a line."""
        lines = []
        for name, value in self.content().items():
            text = canonical(value)
            if name == "outcomes":
                text = "[\n" + ",\n".join("  " + canonical(item) for item in value) + "\n ]"
            lines.append(f' "{name}": {text}')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @staticmethod
    def from_json(text: str | bytes, source: str = "entry") -> "Entry":
        """Read an entry of this or an older schema.

        Raises:
            RecordError: naming `source` and the field, whatever the text holds.
        """
        raw = migrate(parse(text, source), source)
        try:
            return decode(Entry, raw)
        except RecordError as error:
            raise error.named(source) from None


def _strings(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield name, key
            if isinstance(item, str):  # as most are: a generator for each would cost more
                yield f"{name}.{key}", item
            else:
                yield from _strings(f"{name}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _strings(f"{name}[{number}]", item)
