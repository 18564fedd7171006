"""Cost of an episode, measured in existing runs, or else assumed with a note."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import envs
from harness.policies import kind_of
from harness.runs.entry import public_model
from harness.settings.config import Config
from harness.storage.atomic_files import lines
from harness.system import hardware
from leaderboards.boards.formatting import counted
from leaderboards.records.entry import Entry
from leaderboards.records.store import Stored

_SILENT = ("base", "rl")  # methods that never reflect
_BYTES_A_TOKEN = 5  # of text, in episodes.jsonl or test.jsonl
_BYTES_AN_EPISODE = 1500  # of everything else about it


@dataclass(frozen=True, slots=True)
class Rates:
    """Sampled tokens, seconds and bytes; `basis` says what each rests on.

    `acting` and `reflecting` are tokens for each training episode, `evaluating` for each test
    episode, `seconds` for each sampled token, training included; None: not known. `training` are
    the seconds of updates for each training episode. `disk` leaves checkpoints out.
    """

    acting: float
    reflecting: float
    evaluating: float
    seconds: float | None
    training: float | None
    disk: float
    basis: str


def rates(request: Config, stored: Sequence[Stored]) -> Rates:
    """The best there are: of this method, else of this environment and model, else of the model."""
    env, model = envs.resolve(request.env.name), public_model(request.model_url)
    same_model = [s for s in stored if s.entry.track.model == model]
    same_env = [s for s in same_model if s.entry.track.env == env]
    own = [s for s in same_env if s.entry.method == request.method]
    for found, basis in (
        (own, f"measured in {counted(len(own), 'run')} of it here"),
        (
            same_env,
            f"measured in {counted(len(same_env), 'run')} of other methods here, on this model",
        ),
        (
            same_model,
            f"measured in {counted(len(same_model), 'run')} of this model on other environments",
        ),
    ):
        if made := _measured(found, request, basis):
            return made
    return _assumed(request)


def _measured(found: Sequence[Stored], request: Config, basis: str) -> Rates | None:
    entries = [s.entry for s in found if s.entry.spent.evaluation_episodes]
    trained = [e for e in entries if e.spent.episodes]
    if not entries or (request.method != "base" and not trained):
        return None
    tokens = sum(map(_tokens, entries))
    seconds = sum(e.spent.seconds for e in entries)
    evaluated = sum(e.spent.evaluation_episodes for e in entries)
    played = sum(e.spent.episodes for e in trained)
    return Rates(
        acting=sum(e.spent.acting_tokens for e in trained) / played if played else 0.0,
        reflecting=sum(e.spent.reflection_tokens for e in trained) / played if played else 0.0,
        evaluating=sum(e.spent.evaluation_tokens for e in entries) / evaluated,
        seconds=seconds / tokens if tokens and seconds else None,
        training=_training(found),
        disk=_disk(found),
        basis=basis,
    )


def _tokens(entry: Entry) -> int:
    spent = entry.spent
    return spent.acting_tokens + spent.reflection_tokens + spent.evaluation_tokens


def _disk(found: Sequence[Stored]) -> float:
    """Bytes of a run directory for each of its episodes; of the entry alone where it lies alone."""
    total = episodes = 0
    for one in found:
        place = one.path.parent if one.path.name == "entry.json" else one.path
        total += _size(place)
        episodes += one.entry.spent.episodes + one.entry.spent.evaluation_episodes
    return total / max(1, episodes)


def _size(place: Path) -> int:
    if place.is_file():
        return place.stat().st_size
    # A checkpoint does not grow with episodes; a plan counts it apart.
    files = (p for p in place.rglob("*") if p.is_file())
    return sum(p.stat().st_size for p in files if "checkpoint" not in p.relative_to(place).parts)


def _training(found: Sequence[Stored]) -> float | None:
    """Seconds of updates for each training episode, from the logs of runs that lie here."""
    spent = [one for one in map(_last_usage, found) if one]
    episodes = sum(float(one.get("episodes", 0)) for one in spent)
    return sum(float(one.get("training_seconds", 0)) for one in spent) / episodes if spent else None


def _last_usage(one: Stored) -> Mapping[str, Any]:
    """The usage at the end of a run's last iteration; empty where its log does not lie here."""
    if one.path.name != "entry.json":
        return {}
    records = [record for _, record in lines(one.path.parent / "rounds.jsonl")]
    last = records[-1] if records else {}
    return cast(Mapping[str, Any], last.get("spent", {})) if isinstance(last, dict) else {}


def _assumed(request: Config) -> Rates:
    """Half the token limit a reply, and a third of that again for reflection where there is one."""
    limit = request.sampling.max_tokens
    tokens = limit / 2
    basis = f"no run of this model was found: replies are assumed to take half of {limit:,} tokens"
    seconds = None
    if kind_of(request.model_url) == "hf":
        device = hardware.detect().device
        if device == "cuda":
            # One test episode of one token: the time of a token.
            hours = hardware.predicted_hours(0, 1, 1, request.model.batch_rows)
            seconds = hours * 3600
            basis += ", each decoding step 30 ms (computed for a data-centre GPU, not measured)"
        else:
            basis += f"; nothing is known of its speed on this machine ({device})"
    disk = tokens * _BYTES_A_TOKEN + _BYTES_AN_EPISODE
    reflecting = 0.0 if request.method in _SILENT else tokens / 3
    return Rates(tokens, reflecting, tokens, seconds, None, disk, basis)
