"""The record of one training run: its configuration (Track) and its results (Entry).

An entry is one immutable JSON file. It holds the reward of every test task and sample, so that
anyone can recompute every printed number. It never holds a task's text, a host name or a path. The
constructors refuse a record that omits an outcome, evaluates test twice or contradicts itself.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal

from leaderboards.records.added_settings import added, without_first_values
from leaderboards.records.field_checks import LARGEST, coerce_floats, require, require_range
from leaderboards.records.migrations import SCHEMA, migrate
from leaderboards.records.redact import named_strings, redacted
from leaderboards.records.strict_json import (
    JSON,
    RecordError,
    canonical,
    decode,
    encode,
    parse,
    preview,
)

Status = Literal["scored", "unscored", "truncated"]


def tasks_hash(tasks: Iterable[str]) -> str:
    """The hash of a set of task ids, in any order, as in `Track.test_tasks_hash`."""
    return _sha256(canonical(sorted(set(tasks))))


def text_hash(text: str) -> str:
    """The SHA-256 of a text, such as the initial system prompt in `Track.briefing_hash`."""
    # A text may hold lone surrogates, which UTF-8 alone refuses.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Track:
    """The configuration that two rows must share to be compared. Rows rank only within one Track.

    `weights` is the hash of the weights, "" if they cannot be read. `reflector` is "reference"
    (initial weights), "current" or a policy's name. `engine` is the sampling backend, `grader` the
    grader's version. `reduced` is the reason for testing on a subset of the environment's usual
    tasks; `family` names the distribution from which each seed draws its own tasks; both are ""
    otherwise. `max_tokens` is the limit of new tokens for one completion. `model_configuration` is
    the hash of the model's configuration files, "" where it is not compared. `thinking` is
    "default" unless the chat template's switch was set.
    `adapter` names the parts of the model that training leaves out, "" where it adapts every linear
    layer.

    A field added from now on is declared with `added_settings.added`, so that published ids hold.
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
    model_configuration: str = added("")
    thinking: Literal["default", "on", "off"] = added("default")
    adapter: str = added("")

    def __post_init__(self) -> None:
        coerce_floats(self, "temperature", "top_p", "eval_temperature", "eval_top_p")
        require_range(self, 0, "temperature", "eval_temperature", "budget_episodes")
        require_range(self, 1, "max_tokens", "test_tasks", "samples_per_task")
        for name in ("top_p", "eval_top_p"):
            value = getattr(self, name)
            require(0 < value <= 1, name, f"must be above 0 and at most 1, but is {value}")

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
    """The outcome of one sample of one test task.

    `unscored`: the environment, the grader or a sandbox failed; there is no reward, and it never
    counts as 0. `truncated`: cut off by a limit, then graded as it was. `reply` is the completion:
    a text, or the completions of a conversation in order; None where it was not kept. Schema 1 kept
    a conversation as one text without marks between completions. `tokens` is the number sampled.
    """

    task: str
    sample: int
    status: Status
    reward: float | None
    success: bool | None
    tokens: int
    reply: str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        # The usual values are told apart here, without a call: an entry makes thousands of
        # outcomes.
        if self.reward is not None and type(self.reward) is not float:
            coerce_floats(self, "reward")
        if (self.reward is None) != (self.status == "unscored"):
            raise RecordError("must be null exactly where the status is 'unscored'", "reward")
        if self.success is not None and self.reward is None:
            raise RecordError("must be null where the status is 'unscored'", "success")
        # Written with "not", so that NaN, for which no comparison holds, is refused as well.
        if self.reward is not None and not abs(self.reward) <= LARGEST:
            require_range(self, -LARGEST, "reward")
        if not (self.sample >= 0 and 0 <= self.tokens <= LARGEST):
            require_range(self, 0, "sample", "tokens")


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
class Prompt:
    """The selected system prompt: initial text (`briefing`) and learnt principles."""

    briefing: str = ""
    principles: tuple[str, ...] = ()


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
        try:
            offset = datetime.fromisoformat(self.created).utcoffset()
        except ValueError:
            offset = None
        problem = f"must be a UTC time like 2026-01-31T12:00:00Z, but is {preview(self.created)}"
        require(offset == timedelta(0), "created", problem)
        require_range(self, 1, "threads")


# No slots: cached_property keeps the id in the object's __dict__.
@dataclass(frozen=True)
class Entry:
    """One training run and its single held-out evaluation.

    `config` holds the method's settings without the seed: runs that differ only in their seed make
    one row. `adapter_hash` is "" if no weights were trained.
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
        # A copy of plain JSON values: the caller's mapping may change after the entry was checked.
        object.__setattr__(self, "config", encode(self.config))
        require(self.schema == SCHEMA, "schema", f"must be {SCHEMA}, but is {self.schema}")
        require(bool(self.method.strip()), "method", "must name the method, but is empty")
        opened = f"must be 1, because test is opened once, but is {self.test_openings}"
        require(self.test_openings == 1, "test_openings", opened)
        require_range(self, 0, "policy_version")
        self._check_complete()
        for name, text in self._public_strings():
            if redacted(text) != text:
                problem = f"must hold no path or address, but holds {preview(text)}"
                raise RecordError(problem + "; pass it through redacted()", name)

    def _check_complete(self) -> None:
        """Check that every task and sample of the Track is there once, failures included."""
        tasks, samples = self.track.test_tasks, self.track.samples_per_task
        cells = {(o.task, o.sample) for o in self.outcomes}
        require(
            len(cells) == len(self.outcomes), "outcomes", "must hold each sample of a task once"
        )
        tested = {task for task, _ in cells}
        whole = len(tested) == tasks and len(cells) == tasks * samples
        problem = (
            f"must hold {tasks} tasks × {samples} samples (0 to {samples - 1}), "
            f"but holds {len(cells)} outcomes of {len(tested)} tasks"
        )
        require(whole and all(s < samples for _, s in cells), "outcomes", problem)
        same = tasks_hash(tested) == self.track.test_tasks_hash
        require(same, "track.test_tasks_hash", "must be tasks_hash() of the outcomes' task ids")

    def _public_strings(self) -> Iterator[tuple[str, str]]:
        """Every string not written by a model, with the name of its field."""
        yield from named_strings("track", encode(self.track))
        yield from named_strings("method", self.method)
        yield from named_strings("config", self.config)
        tasks = {o.task for o in self.outcomes}
        if any(slash in "".join(tasks) for slash in "/\\"):  # others cannot be redacted
            yield from named_strings("outcomes", sorted(tasks))
        yield from named_strings("provenance", encode(self.provenance))
        yield from named_strings("notes", list(self.notes))

    @property
    def row_config(self) -> Mapping[str, JSON]:
        """The settings that distinguish rows: `config` without added ones at their first value."""
        return without_first_values(self.method, self.config)

    def content(self, *, but: str = "") -> dict[str, Any]:
        """Every field but `but`, in the oldest schema that can hold them.

        A migration adds nothing to a run, so the id and the text of an old entry stay the same.
        """
        values = {f.name: encode(getattr(self, f.name)) for f in fields(self) if f.name != but}
        several = any(type(o.reply) is tuple for o in self.outcomes)
        if self.provenance.prices is None and not several:
            del values["provenance"]["prices"]
            values["schema"] = 1
        return values

    @cached_property
    def id(self) -> str:
        """Sixteen hex digits of the content's hash."""
        return _sha256(canonical(self.content()))[:16]

    def to_json(self) -> str:
        """The text of the file, one outcome a line; ASCII, so that every character is visible."""
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
            RecordError: naming `source` and the field, for any text that is not an entry.
        """
        raw = migrate(parse(text, source), source)
        try:
            return decode(Entry, raw)
        except RecordError as error:
            raise error.named(source) from None
