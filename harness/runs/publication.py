"""Checks before publication: the agent was selected before its test split was opened."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from harness.errors import RunError, UsageError
from harness.runs.entry import claimed, claims_of, hung_graders, names_of
from harness.runs.history.details import history_of
from harness.runs.history.seal import NAME, check_sealed, read_seal
from harness.runs.request import read_request
from harness.runs.run_dirs import existing
from harness.storage.atomic_files import read_json, whole_lines
from harness.storage.checkpoint import UNREADABLE
from harness.storage.transcript import status
from harness.types import SystemPrompt
from leaderboards.records.entry import Entry, Outcome
from leaderboards.records.store import read_entry

_IDENTITY = {
    "weights": "weights",
    "rendering": "rendering",
    "model_configuration": "model configuration",
}
"""Fields of a Track that `identity.json` holds, by their names there."""


def publishable(run: Path) -> list[Path]:
    """The run directories of a run, or of an entry file beside its logs."""
    if run.is_file() and run.name == "entry.json" and (run.parent / "opening.json").exists():
        return [run.parent]
    if run.is_file():
        raise UsageError(
            f"{run} is an entry without its run; name the run directory, which shows that the "
            "agent was selected before the test split was opened."
        )
    return existing(run)


def checked_entry(run_dir: Path) -> Entry:
    """The entry of a run, checked against the record of its single held-out evaluation."""
    if not (run_dir / "entry.json").exists():
        raise RunError(f"{run_dir} is not finished; type harness resume {run_dir} first.")
    entry = read_entry(run_dir / "entry.json")
    opening = cast(Mapping[str, Any], read_json(run_dir / "opening.json"))
    prompt = SystemPrompt(entry.prompt.briefing, entry.prompt.principles)
    agent = {"prompt": prompt.id, "policy_version": entry.policy_version}
    declared = opening.get("agents")
    if opening.get("openings") != 1 or not isinstance(declared, list) or agent not in declared:
        raise RunError(
            f"{run_dir} opened the test split for another agent than its entry names: the agent "
            "was selected afterwards, so it is not published."
        )
    if _moment(str(opening.get("opened"))) > _moment(entry.provenance.created):
        raise RunError(
            f"{run_dir} opened the test split after its entry was made; it is not published."
        )
    try:
        played = [cast(Mapping[str, Any], e) for e in whole_lines(run_dir / "test.jsonl")]
        logged = _logged(played)
    except UNREADABLE as error:
        raise RunError(
            f"{run_dir} has a test.jsonl that no run wrote ({type(error).__name__}: {error}); it "
            "is not published."
        ) from error
    if logged != _published(entry.outcomes):
        raise RunError(
            f"{run_dir} has other outcomes in test.jsonl than in entry.json; it is not published."
        )
    if entry.sealed and entry.hung_graders != hung_graders(played):
        raise RunError(
            f"{run_dir} tells of another number of graders that did not end than its entry; it is "
            "not published."
        )
    _check_seal(entry, run_dir)
    return entry


def _check_seal(entry: Entry, run_dir: Path) -> None:
    """Refuse an entry that claims other settings or machines than its run was held to.

    Raises:
        RunError: So; names what differs.
    """
    seal = read_seal(run_dir)
    request = read_request(run_dir)
    check_sealed(seal, request, run_dir)
    if seal is None:
        if entry.sealed:
            raise RunError(f"{run_dir / NAME} is missing, so {run_dir} is not published.")
        return
    told = history_of(seal)
    claims = claimed(request)
    own = {name: getattr(entry, name) for name in told} | claims_of(entry)
    differing = [name for name, value in (told | claims).items() if own[name] != value]
    if entry.track.model not in names_of(request.model_url):
        differing.append("track.model")
    identity = read_json(run_dir / "identity.json")
    for field, name in _IDENTITY.items():
        if getattr(entry.track, field) != identity.get(name, ""):
            differing.append(f"track.{field}")
    if differing:
        raise RunError(
            f"{run_dir / 'entry.json'} claims something else than {NAME} says about "
            f"{' and '.join(differing)}; it is not published."
        )
    if entry.id != seal.entry:
        raise RunError(
            f"{run_dir / 'entry.json'} is not the entry that the run wrote; it is not published. "
            "Restore it from a copy, or remove it: harness resume makes it anew without sampling."
        )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(f"{text!r} names no time zone")
    except ValueError as error:
        raise RunError(
            f"opening.json does not say when the test split was opened ({error})."
        ) from error
    return moment


def _logged(played: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], tuple[str, float | None]]:
    return {(p["task"], p["sample"]): (status(p["ending"]), p["reward"]) for p in played}


def _published(outcomes: Sequence[Outcome]) -> dict[tuple[str, int], tuple[str, float | None]]:
    return {(o.task, o.sample): (o.status, o.reward) for o in outcomes}
