"""The record of one training run: its configuration (Track) and its results (Entry).

An entry is one immutable JSON file. It holds the reward of every test task and sample, so that
anyone can recompute every printed number. It never holds a host name or a path, and a task's text
only where the environment allows it. The constructors refuse a record that omits an outcome,
evaluates test twice or contradicts itself.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

from leaderboards.records.added_settings import added, without_first_values
from leaderboards.records.details import (
    MOST,
    CurvePoint,
    Participant,
    PopulationPrompt,
    SettingsSegment,
    TaskText,
    check_order,
    check_sizes,
    detail,
)
from leaderboards.records.field_checks import LARGEST, coerce_floats, require, require_range
from leaderboards.records.migrations import SCHEMA, migrate
from leaderboards.records.provenance import Provenance, Spent
from leaderboards.records.redact import named_strings, redacted
from leaderboards.records.strict_json import (
    JSON,
    RecordError,
    added_fields,
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
    tools: Literal["auto", "native", "text"] = added("auto")

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
class Prompt:
    """The selected system prompt: initial text (`briefing`) and learnt principles."""

    briefing: str = ""
    principles: tuple[str, ...] = ()


# No slots: cached_property keeps the id in the object's __dict__.
@dataclass(frozen=True)
class Entry:
    """One training run and its single held-out evaluation.

    `config` holds the method's settings without the seed: runs that differ only in their seed make
    one row. `adapter_hash` is "" if no weights were trained.

    The fields from `segments` on are of schema 3, and each may be absent. `segments` are changes of
    what is measured, `execution_changes` those of how it is executed; `participants` is everything
    that computed a part of the run. `backend` is the identity of the model and what ran it.
    `sealed` is the hash of the settings that the run was held to. `asked_again` counts requests of
    the held-out evaluation that were sent a second time after the run had been killed, and
    `hung_graders` outcomes that count as wrong because grading them did not end.
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
    segments: tuple[SettingsSegment, ...] = detail(())
    execution_changes: tuple[SettingsSegment, ...] = detail(())
    participants: tuple[Participant, ...] = detail(())
    learning_curve: tuple[CurvePoint, ...] = detail(())
    population: tuple[PopulationPrompt, ...] = detail(())
    task_texts: tuple[TaskText, ...] = detail(())
    backend: Mapping[str, str] = detail({})
    sealed: str = added("")
    asked_again: int = added(0)
    hung_graders: int = added(0)
    schema: int = field(default=SCHEMA)

    def __post_init__(self) -> None:
        # A copy of plain JSON values: the caller's mapping may change after the entry was checked.
        object.__setattr__(self, "config", encode(self.config))
        require(self.schema == SCHEMA, "schema", f"must be {SCHEMA}, but is {self.schema}")
        require(bool(self.method.strip()), "method", "must name the method, but is empty")
        opened = f"must be 1, because test is opened once, but is {self.test_openings}"
        require(self.test_openings == 1, "test_openings", opened)
        require_range(self, 0, "policy_version", "asked_again", "hung_graders")
        check_sizes((name, encode(value)) for name in MOST if (value := getattr(self, name)))
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
        check_order(
            self.segments,
            self.execution_changes,
            self.learning_curve,
            self.population,
            self.task_texts,
            frozenset(tested),
        )
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
        # Principles and task texts may speak of paths: nobody's machine is meant.
        for name in ("segments", "execution_changes", "participants", "backend", "sealed"):
            if value := getattr(self, name):
                yield from named_strings(name, encode(value))

    @property
    def row_config(self) -> Mapping[str, JSON]:
        """The settings that distinguish rows: `config` without added ones at their first value."""
        return without_first_values(self.method, self.config)

    @property
    def code(self) -> tuple[tuple[str, bool], ...]:
        """Every commit that computed a part of the run, each with "had uncommitted changes"."""
        own = ((self.provenance.commit, self.provenance.dirty),)
        return tuple(dict.fromkeys((*((p.commit, p.dirty) for p in self.participants), *own)))

    @property
    def places(self) -> tuple[str, ...]:
        """Every machine that computed a part of the run with its releases, one text for each."""
        kinds = (
            (dict(p.versions), p.machine, p.processor, p.accelerator, p.device, p.threads)
            for p in self.participants
        )
        return tuple(dict.fromkeys(canonical(kind) for kind in kinds))

    def content(self, *, but: str = "") -> dict[str, Any]:
        """Every field but `but`, in the oldest schema that can hold them.

        A migration adds nothing to a run, so the id and the text of an old entry stay the same.
        """
        values = {f.name: encode(getattr(self, f.name)) for f in fields(self) if f.name != but}
        kind: Any = type(self)
        later = added_fields(kind)
        empty = [name for name in later if values.get(name) == later[name]]
        for name in empty:
            del values[name]
        if len(empty) < len(later):
            return values
        several = any(type(o.reply) is tuple for o in self.outcomes)
        first = self.provenance.prices is None and not several
        values["schema"] = 1 if first else 2
        if first:
            del values["provenance"]["prices"]
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
