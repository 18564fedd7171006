"""The seal of a run: the settings that it began with, written down before anything is sampled.

    seal.json    settings, changes that were allowed, and what took part; a checkpoint holds a copy

A resumed run is held to it: measured settings that differ are refused unless their change was
allowed by name, and then the change is a segment of the entry. Settings of how a run is executed
may change, and are recorded. Runs of earlier versions have no seal; they get one when they go on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from harness.errors import RunError, UsageError
from harness.runs.history.participants import this_participant
from harness.runs.history.settings_diff import (
    OTHER_RUN,
    Flat,
    began,
    differences,
    flat,
    measured,
    next_iteration,
    shown,
    today,
)
from harness.runs.request import read_request
from harness.settings.config import Config
from harness.storage.atomic_files import read_json, write_json
from harness.types import JSON
from leaderboards.records.added_settings import added
from leaderboards.records.details import MOST, Participant, SettingChange, SettingsSegment
from leaderboards.records.entry import Entry
from leaderboards.records.strict_json import RecordError, canonical, decode, encode

NAME = "seal.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Seal:
    """The settings that a run is held to, and its history.

    `settings` are the current ones by `section.key`; without `segments` they are those it began
    with. `since` is the iteration from which it was sealed, and `whole` is False where that was
    later than its beginning. `unlisted` counts starts that `participants` has no room for. `entry`
    is the id of the entry that the run wrote, "" before.
    """

    settings: Mapping[str, JSON]
    since: int = 0
    whole: bool = True
    segments: tuple[SettingsSegment, ...] = ()
    execution_changes: tuple[SettingsSegment, ...] = ()
    participants: tuple[Participant, ...] = ()
    unlisted: int = 0
    entry: str = added("")

    @property
    def digest(self) -> str:
        """The hash of the measured settings."""
        return sha256(canonical(measured(self.settings)).encode()).hexdigest()

    def to_json(self) -> dict[str, JSON]:
        """The seal as it is stored, with a hash of all of it."""
        content = cast(dict[str, JSON], encode(self))
        return {"schema": _SCHEMA, **content, "sha256": _hash(content)}

    def copy(self) -> dict[str, JSON]:
        """The part that a checkpoint keeps: what is measured, and its changes, without clocks."""
        part = Seal(measured(self.settings), self.since, self.whole, self.segments)
        return part.to_json()


def _hash(content: Mapping[str, JSON]) -> str:
    return sha256(canonical(content).encode()).hexdigest()


def read_seal(folder: Path) -> Seal | None:
    """The seal of a run, compared with the copy in its checkpoint; None for a run without one.

    Raises:
        RunError: One of them was changed after it was written, or they disagree.
    """
    own = _parsed(read_json(folder / NAME), folder / NAME) if (folder / NAME).exists() else None
    copy = _copy(folder)
    if own is None and copy is not None:
        raise RunError(
            f"{folder / NAME} is missing, though the checkpoint was written under a seal; restore "
            "it from a copy, or start a new run."
        )
    if own is None or copy is None:
        return own
    later = own.segments[len(copy.segments) :]
    before = undone(measured(own.settings), later)
    changed = differences(before, measured(copy.settings))
    if changed or own.segments[: len(copy.segments)] != copy.segments:
        keys = f" ({'; '.join(map(shown, changed))})" if changed else ""
        raise RunError(
            f"{folder / NAME} and the checkpoint of {folder} disagree about the settings that the "
            f"run began with{keys}; restore them from a copy, or start a new run."
        )
    return own


def _copy(folder: Path) -> Seal | None:
    """The copy of the seal in the checkpoint, if it has one."""
    for name in ("checkpoint", "checkpoint.old"):  # killed between two renames, only the old exists
        path = folder / name / "state.json"
        if path.exists():
            raw = read_json(path).get("seal")
            return None if raw is None else _parsed(raw, path)
    return None


def _parsed(raw: JSON, path: Path) -> Seal:
    then = "restore it from a copy, or start a new run"
    if not isinstance(raw, Mapping):
        raise RunError(f"{path} holds no seal where one is expected; {then}.")
    content = {name: value for name, value in raw.items() if name not in ("schema", "sha256")}
    if raw.get("schema") != _SCHEMA:
        raise RunError(
            f"{path} holds a seal of schema {str(raw.get('schema'))[:20]}, this version reads "
            f"{_SCHEMA}; resume the run with the version that wrote it."
        )
    try:
        if raw.get("sha256") != _hash(content):
            raise RunError(f"{path} holds a seal that was changed after it was written; {then}.")
        return decode(Seal, content)
    except RecordError as error:
        raise RunError(f"{path} holds no seal that can be read ({error}); {then}.") from error


def undone(settings: Flat, segments: Sequence[SettingsSegment]) -> dict[str, JSON]:
    """The settings before these changes."""
    found = dict(settings)
    for segment in reversed(segments):
        for change in segment.changes:
            found[change.key] = change.old
    return {key: value for key, value in found.items() if value is not None}


def check_sealed(seal: Seal | None, request: Config, folder: Path) -> None:
    """Check that a run goes on with the settings that it is held to.

    Raises:
        RunError: The request differs from them in what is measured; each key is named.
    """
    changed = _changed(seal, request) if seal else []
    if not changed:
        return
    said = "; ".join(map(shown, changed))
    restore = "restore them in config.toml"
    others = [change.key for change in changed if change.key in OTHER_RUN]
    if (folder / "opening.json").exists():
        way = f"{restore}, as nothing can change once the held-out evaluation has begun"
    elif others:
        way = f"{restore}, or start a new run, because {' and '.join(others)} says which run it is"
    else:
        words = " ".join(f"--change {change.key}" for change in changed)
        way = (
            f"{restore}, or type harness resume {folder} {words}, which the entry records and no "
            "ranking counts"
        )
    raise RunError(f"{folder} would go on with other settings than it began with: {said}; {way}.")


def check_request(request: Config, folder: Path) -> None:
    """Refuse a request that is not the one in the run directory, or not what the run is held to.

    Raises:
        RunError: So; before the model is opened, which can take minutes.
    """
    if (folder / "config.toml").exists():
        own = read_request(folder)
        changed = differences(measured(flat(own)), measured(flat(request)))
        if changed:
            raise RunError(
                f"{folder} was given other settings by another process just now "
                f"({'; '.join(map(shown, changed))}); give another --run-dir."
            )
    check_sealed(read_seal(folder), request, folder)


def _changed(seal: Seal, request: Config) -> list[SettingChange]:
    return differences(measured(today(seal.settings)), measured(flat(request)))


def with_changes(seal: Seal, request: Config, folder: Path, allowed: frozenset[str]) -> Seal:
    """The seal with those changes of this request that are allowed.

    Raises:
        UsageError: A change cannot be allowed, or too many were.
    """
    found = [change for change in _changed(seal, request) if change.key in allowed]
    if not found:
        return seal
    if (folder / "opening.json").exists():
        raise UsageError(
            f"The held-out evaluation of {folder} has begun, so {found[0].key} cannot change any "
            "more; start a new run."
        )
    if len(seal.segments) >= MOST["segments"]:
        raise UsageError(f"{folder} was changed {len(seal.segments)} times; start a new run.")
    settings = {**seal.settings, **{change.key: change.new for change in found}}
    segment = SettingsSegment(next_iteration(folder), tuple(found))
    kept = {key: value for key, value in settings.items() if value is not None}
    return replace(seal, settings=kept, segments=(*seal.segments, segment))


def first_seal(request: Config, folder: Path) -> Seal:
    """The seal of a run that has none: from now on, where the run has begun."""
    return Seal(flat(request), since=next_iteration(folder), whole=not began(folder))


def renew(seal: Seal, request: Config, participant: Participant) -> Seal:
    """The seal of a run that starts or goes on now: with how it is executed, and who takes part."""
    now = flat(request)
    held = measured(seal.settings)
    how = {key: value for key, value in now.items() if key not in measured(now)}
    before = {key: value for key, value in seal.settings.items() if key not in held}
    if changes := differences(before, how):
        kept = list(seal.execution_changes)
        # The latest ones are of most use to whoever asks why a run went on differently.
        del kept[: max(0, len(kept) + 1 - MOST["execution_changes"])]
        segment = SettingsSegment(participant.iteration, tuple(changes))
        seal = replace(seal, settings={**held, **how}, execution_changes=(*kept, segment))
    return _joined(seal, participant)


def _joined(seal: Seal, new: Participant) -> Seal:
    """The seal with one more start; equal participants are one, with the number of starts."""
    known = list(seal.participants)
    for number, one in enumerate(known):
        if _kind(one) == _kind(new):
            known[number] = replace(one, starts=one.starts + 1)
            return replace(seal, participants=tuple(known))
    if len(known) < MOST["participants"]:
        return replace(seal, participants=(*known, new))
    # Uncommitted or unknown code is always listed, because it decides about publication.
    if new.dirty or not new.commit:
        clean = [n for n, one in enumerate(known) if one.commit and not one.dirty]
        if clean:
            known[clean[-1]] = new
    return replace(seal, participants=tuple(known), unlisted=seal.unlisted + 1)


def _kind(one: Participant) -> tuple[Any, ...]:
    return (encode(replace(one, iteration=0, starts=1, started="2000-01-01T00:00:00Z")),)


def seal_entry(entry: Entry, folder: Path) -> None:
    """Write down which entry a run is about to write, so that one edited later is noticed."""
    if seal := read_seal(folder):
        write_seal(replace(seal, entry=entry.id), folder)


def write_seal(seal: Seal, folder: Path) -> None:
    """Write the seal of a run; the caller holds its lock."""
    write_json(folder / NAME, seal.to_json())


def seal_run(
    request: Config, folder: Path, versions: Mapping[str, str], note: Callable[[str], None]
) -> Seal:
    """Seal a run that starts or goes on now; the caller holds its lock.

    Raises:
        RunError: It would go on with other settings than it is held to.
    """
    seal = read_seal(folder)
    check_sealed(seal, request, folder)
    if seal is None:
        seal = first_seal(request, folder)
        if not seal.whole:
            note(f"{folder}: begun by a version that did not seal settings; sealed from now on")
    seal = renew(seal, request, this_participant(request, next_iteration(folder), versions))
    write_seal(seal, folder)
    return seal
