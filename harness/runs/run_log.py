"""The log of a run as plain values, for the site of leaderboards.

Observations are included only if the environment allows its texts to be published; if that cannot
be found out, they are left out.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import envs
from envs.errors import EnvError
from envs.registry import path_options
from harness.display.console_text import plain
from harness.errors import HarnessError
from harness.runs.build import final_agent_of
from harness.runs.envs import untrusted
from harness.runs.request import read_request
from harness.settings.config import Config
from harness.storage.atomic_files import lines
from harness.storage.transcript import status
from harness.types import JSON
from leaderboards.records.strict_json import RecordError
from leaderboards.site import EpisodeLog, PopulationMember, RoundLog, RunLog

Record = Mapping[str, Any]


_EACH = 3  # correct training episodes shown for each round, and as many incorrect ones


_MOST = 600  # training episodes shown of a run


_ORIGINS = {"root": "initial"}


_LINES = 20  # lines shown of a round's summary


def read_log(entry: Path, trusted: tuple[str, ...] = ()) -> RunLog | None:
    """The log of the run directory that an entry file lies in; None if it lies elsewhere.

    `trusted` names modules whose environments may be imported to find out whether their texts may
    be published.

    Raises:
        RecordError: if the run is damaged.
    """
    run_dir = entry.parent
    if entry.name != "entry.json" or not (run_dir / "config.toml").is_file():
        return None
    try:
        request = read_request(run_dir)
        texts = _may_publish(request, trusted)
        states = [line for _, line in lines(run_dir / "population.jsonl")]
        finished = (run_dir / "champion.json").is_file()
        training, trained = _training(run_dir / "episodes.jsonl", texts)
        return RunLog(
            rounds=tuple(_rounds(run_dir / "rounds.jsonl")),
            prompts=tuple(_prompts(states)),
            selected=final_agent_of(run_dir).prompt.id if finished else "",
            tests=tuple(
                _episode(cast(Record, line), texts) for _, line in lines(run_dir / "test.jsonl")
            ),
            training=training,
            trained=trained,
            texts=texts,
        )
    except (HarnessError, KeyError, TypeError, ValueError, AttributeError) as error:
        what = str(error) or type(error).__name__
        problem = f"lies in a damaged run ({what.rstrip('.')}); remove it, or its config.toml"
        raise RecordError(problem, source=str(entry)) from error


def _may_publish(request: Config, trusted: tuple[str, ...]) -> bool:
    """True if observations may be shown on a page.

    An environment's permission covers only the data that it comes with, not data files named by
    the user, unless the configuration sets `publish`. No permission is assumed for environments
    that cannot be found or are not trusted.
    """
    options = request.env_options
    if options.get("publish") is True:
        return True
    allowed, paths = _described(request.env.name, trusted)
    return allowed and not request.env.data_dir and not any(options.get(name) for name in paths)


@cache
def _described(name: str, trusted: tuple[str, ...]) -> tuple[bool, tuple[str, ...]]:
    if untrusted(name, {}, trusted):
        return False, ()
    try:
        return envs.describe(name).redistributable, tuple(path_options(name))
    except (EnvError, ImportError):
        return False, ()


def _rounds(path: Path) -> Iterator[RoundLog]:
    for _, line in lines(path):
        r = cast(Record, line)
        spent, numbers = r["spent"], r.get("numbers", {})
        if not r["scores"]:
            continue
        yield RoundLog(
            round=int(r["round"]),
            reward=None if r["reward"] is None else float(r["reward"]),
            episodes=int(spent["episodes"]),
            acting_tokens=int(spent["acting_tokens"]),
            reflection_tokens=int(spent["reflection_tokens"]),
            gradient_steps=int(spent["gradient_steps"]),
            seconds=sum(float(v) for k, v in spent.items() if k.endswith("_seconds")),
            ratings={
                name[3:]: (float(mu), float(numbers[f"sigma/{name[3:]}"]))
                for name, mu in numbers.items()
                if name.startswith("mu/") and mu is not None and f"sigma/{name[3:]}" in numbers
            },
            lines=tuple(plain(str(text), 300) for text in r.get("lines", ())[:_LINES]),
        )


def _prompts(states: Sequence[Record]) -> Iterator[PopulationMember]:
    """Every prompt that was ever in the population; for a method with one prompt, each version.

    The pool drops its oldest members, so all rounds are read; a member keeps its last rating.
    """
    members: dict[str, PopulationMember] = {}
    before = ""
    for state in states:
        for population in within(state["state"], "population"):
            for m in cast(Sequence[Record], population):
                members[str(m["id"])] = _member(m)
        single = next(within(state["state"], "prompt"), None)
        if isinstance(single, Mapping) and str(single["id"]) not in members:
            id, round = str(single["id"]), int(cast(Any, state["round"]))
            principles = tuple(str(p) for p in cast(Sequence[str], single["principles"]))
            parents = (before,) if before else ()
            members[id] = PopulationMember(
                id, principles, parents, "revision" if before else "initial", round
            )
        if isinstance(single, Mapping):
            before = str(single["id"])
    yield from members.values()


def _member(m: Record) -> PopulationMember:
    rated = "mu" in m and m["mu"] is not None
    return PopulationMember(
        id=str(m["id"]),
        principles=tuple(str(p) for p in m["principles"]),
        parents=tuple(str(p) for p in m["parents"]),
        origin=_ORIGINS.get(str(m["origin"]), plain(str(m["origin"]), 40)),
        generation=int(m["born"]),
        mu=float(m["mu"]) if rated else None,
        sigma=float(m["sigma"]) if rated else None,
        evaluations=int(m.get("played", 0)),
    )


def _training(path: Path, texts: bool) -> tuple[tuple[EpisodeLog, ...], int]:
    """The first correct and the first other episodes of each round, and the total count."""
    chosen: list[EpisodeLog] = []
    seen: dict[tuple[int, bool], int] = {}
    count = 0
    for _, line in lines(path):
        count += 1
        e = cast(Record, line)
        kind = (int(e["round"]), bool(e["success"]))
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= _EACH:
            chosen.append(_episode(e, texts))
    # Thinned evenly, so that the last rounds are shown too.
    step = -(-len(chosen) // _MOST) or 1
    return tuple(chosen[::step]), count


def _episode(e: Record, texts: bool) -> EpisodeLog:
    verdict = status(str(e["ending"]))
    turns = [(str(t["observation"]), str(t["reply"])) for t in e["turns"]]
    first = turns[0][0] if turns else ""
    # Where its text may not be shown, a task can still be told from another.
    hashed = hashlib.sha256(first.encode("utf-8", "surrogatepass")).hexdigest()
    return EpisodeLog(
        round=int(e["round"]) if "round" in e else None,
        prompt=str(e.get("prompt", "")),
        task=str(e["task"]),
        sample=int(e["sample"]),
        status=verdict,
        reward=None if e["reward"] is None else float(e["reward"]),
        success=bool(e["success"]) if verdict != "unscored" else None,
        tokens=int(e["sampled"]),
        turns=tuple((seen if texts else "", completion) for seen, completion in turns),
        feedback=str(e["error"] or e["feedback"]) if texts else "",
        task_hash="" if texts else hashed,
    )


def within(state: JSON, wanted: str) -> Iterator[JSON]:
    """Every value of that name in a method's state, however it nests."""
    if isinstance(state, Mapping):
        for name, value in state.items():
            if name == wanted:
                yield value
            else:
                yield from within(value, wanted)
