"""Details of a run for its entry: learning curve, prompts, task texts, backend."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from harness.metered import Metered
from harness.policies.base import Policy
from harness.policies.capabilities import identity_of
from harness.runs.history.logged import read_prompts, read_rounds
from harness.runs.history.seal import Seal
from harness.runs.history.texts import may_publish
from harness.settings.config import Config
from harness.system.secrets import HIDDEN, redact, secret_name
from harness.types import JSON, Agent
from leaderboards.records.details import (
    LONGEST,
    MOST,
    CurvePoint,
    Participant,
    PopulationPrompt,
    SettingChange,
    SettingsSegment,
    TaskText,
    thinned,
)
from leaderboards.records.redact import redacted
from leaderboards.records.strict_json import canonical, encode

_LONGEST_VALUE = 1_000  # characters of a setting's value in an entry


@dataclass(frozen=True)
class EntryDetails:
    """Details as an entry takes them, and notes on what they leave out."""

    learning_curve: tuple[CurvePoint, ...] = ()
    population: tuple[PopulationPrompt, ...] = ()
    task_texts: tuple[TaskText, ...] = ()
    backend: Mapping[str, str] = field(default_factory=dict)
    segments: tuple[SettingsSegment, ...] = ()
    execution_changes: tuple[SettingsSegment, ...] = ()
    participants: tuple[Participant, ...] = ()
    sealed: str = ""
    notes: tuple[str, ...] = ()


def read_details(
    request: Config,
    folder: Path,
    policy: Policy,
    reflector: Policy,
    agent: Agent,
    records: Sequence[Mapping[str, JSON]],
    seal: Seal,
) -> EntryDetails:
    """Read the logs of a run whose test split was evaluated; `records` are its test episodes."""
    population, notes = _population(folder, agent.prompt.id)
    texts, more = _task_texts(records) if may_publish(request, ()) else ((), ())
    return EntryDetails(
        learning_curve=_curve(folder),
        population=population,
        task_texts=texts,
        backend=_backend(request, policy, reflector),
        notes=(*notes, *more, *_of_seal(seal)),
        **history_of(seal),
    )


def history_of(seal: Seal) -> dict[str, Any]:
    """The history of a run as its entry has it, by the entry's fields."""
    return {
        "segments": tuple(map(_public, seal.segments)),
        "execution_changes": tuple(map(_public, seal.execution_changes)),
        "participants": seal.participants,
        "sealed": seal.digest,
    }


def _of_seal(seal: Seal) -> Iterator[str]:
    """Notes on what is not known of the run's history."""
    if not seal.whole:
        yield (
            f"settings and machines before iteration {seal.since + 1} were not recorded: the run "
            "was begun by an earlier version"
        )
    if seal.unlisted:
        yield f"{seal.unlisted:,} more starts on other machines or releases are not listed"


def _public(segment: SettingsSegment) -> SettingsSegment:
    """The changes without paths and addresses, and with long texts shortened."""
    changes = (SettingChange(c.key, *_public_pair(c)) for c in segment.changes)
    return SettingsSegment(segment.iteration, tuple(changes))


def _public_pair(change: SettingChange) -> tuple[JSON, JSON]:
    if secret_name(change.key.partition(".")[2]):
        return f"{HIDDEN} before", f"{HIDDEN} after"
    before, after = _public_value(change.old), _public_value(change.new)
    if canonical(before) != canonical(after):
        return before, after
    # They differ in what is not shown, such as the folder of a file.
    return f"{before} ({_digest(change.old)})", f"{after} ({_digest(change.new)})"


def _public_value(value: JSON) -> JSON:
    if not isinstance(value, str):
        return value
    text = redacted(redact(value))
    if len(text) <= _LONGEST_VALUE:
        return text
    return f"{text[:_LONGEST_VALUE]}… ({len(text):,} characters, {_digest(text)})"


def _digest(value: JSON) -> str:
    return f"sha256:{sha256(canonical(value).encode()).hexdigest()[:12]}"


def _curve(folder: Path) -> tuple[CurvePoint, ...]:
    """The learning curve, evenly thinned where it is longer than an entry takes."""
    rounds = list(read_rounds(folder / "rounds.jsonl"))
    return tuple(
        CurvePoint(
            iteration=one.round,
            reward=one.reward,
            episodes=one.episodes,
            acting_tokens=one.acting_tokens,
            reflection_tokens=one.reflection_tokens,
            gradient_steps=one.gradient_steps,
            seconds=round(one.seconds, 3),
        )
        for one in thinned(rounds, MOST["learning_curve"])
    )


def _population(folder: Path, selected: str) -> tuple[tuple[PopulationPrompt, ...], Sequence[str]]:
    """The prompts of the method's population, and a note where not all of them are there."""
    try:
        members = [
            PopulationPrompt(**{f.name: getattr(one, f.name) for f in fields(PopulationPrompt)})
            for one in read_prompts(folder / "population.jsonl")
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # A method from outside may keep something else under the same names.
        return (), [f"the prompts in the method's state were not understood ({error!r:.100})"]
    kept = set(_chosen(members, selected))
    left = len(members) - len(kept)
    notes = [f"{left:,} of {len(members):,} prompts of the population are left out"] if left else []
    return tuple(one for one in members if one.id in kept), notes


def _chosen(members: Sequence[PopulationPrompt], selected: str) -> Iterator[str]:
    """Ids of the prompts that an entry has room for: ancestors of the selected, then the newest."""
    by_id = {one.id: one for one in members}
    line: dict[str, None] = {}
    waiting = [selected]
    while waiting:
        one = by_id.get(waiting.pop(0))
        if one is not None and one.id not in line:
            line[one.id] = None
            waiting += one.parents
    newest = (one.id for one in reversed(members))
    yield from _fitting({id: by_id[id] for id in (*line, *newest)}, "population")


def _fitting(items: Mapping[str, Any], place: str) -> Iterator[str]:
    """Names of the first items that a field of an entry has room for."""
    room, left = LONGEST[place] - 2, MOST[place]
    for name, item in items.items():
        size = len(canonical(encode(item))) + 1
        if size <= room and left:
            room, left = room - size, left - 1
            yield name


def _task_texts(
    records: Sequence[Mapping[str, JSON]],
) -> tuple[tuple[TaskText, ...], Sequence[str]]:
    """The first observation of every test task, and a note where there is no room for some."""
    texts: dict[str, TaskText] = {}
    for record in records:
        turns = cast(Sequence[Mapping[str, str]], record["turns"])
        if turns:
            task = str(record["task"])
            texts.setdefault(task, TaskText(task, turns[0]["observation"]))
    kept = tuple(texts[task] for task in _fitting(texts, "task_texts"))
    left = len(texts) - len(kept)
    return kept, [f"the texts of {left:,} of {len(texts):,} tasks are left out"] if left else []


def _backend(request: Config, policy: Policy, reflector: Policy) -> Mapping[str, str]:
    """The identity of the model and of what ran it; a separate reflection model's as well."""
    found = dict(_identity(policy))
    if request.reflection.separate:
        found |= {f"reflection.{name}": text for name, text in _identity(reflector).items()}
    return {name: redacted(str(text))[:500] for name, text in found.items() if text}


def _identity(policy: Policy) -> Mapping[str, str]:
    inner = policy.inner if isinstance(policy, Metered) else policy
    return identity_of(inner)
