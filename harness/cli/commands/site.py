"""`harness leaderboard --html/--csv/--parquet`: boards for publication.

Beside an entry its run may lie; what that can tell is read here and handed on as plain values. What
a world said is handed on only where its texts may be published; where nobody can say whether they
may, they may not.
"""

import argparse
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

from rich.console import Console

import envs
from envs.errors import EnvError
from envs.registry import path_options
from harness.cli.commands.show import within
from harness.config import Config
from harness.display.console_text import plain
from harness.errors import HarnessError, UsageError
from harness.runs.build import champion_of, read_request
from harness.runs.trust import untrusted
from harness.storage.atomic_files import lines
from harness.storage.transcript import status
from leaderboards.boards.export_tables import write_csv, write_parquet
from leaderboards.boards.rank import boards
from leaderboards.records.store import find_entries
from leaderboards.records.strict_json import RecordError
from leaderboards.site import Attempt, Lived, LoggedRun, RunLog, build_site

Record = Mapping[str, Any]
_EACH = 3  # training episodes of a round that were right, and as many that were not
_MOST = 600  # training episodes of a run
_LINES = 20  # of what was learnt in a round


def publish(arguments: argparse.Namespace, paths: Sequence[Path]) -> int:
    """Write what was asked for; say where it is."""
    console = Console(stderr=True)
    problems: Sequence[str] = ()
    if arguments.html:
        reader = partial(read_log, trusted=tuple(arguments.trust))
        built = build_site(arguments.html, paths, reader, jobs=0)
        problems = built.problems
        told = f"{built.entries:,} runs on {built.boards:,} boards, {built.told:,} with curves"
        page = built.folder / "index.html"
        console.print(f"{told}: open {page}", markup=False, highlight=False, soft_wrap=True)
    if arguments.csv or arguments.parquet:
        found = find_entries(paths)
        problems = found.problems
        made = boards(found.entries)
        for path, write in ((arguments.csv, write_csv), (arguments.parquet, write_parquet)):
            if path is not None:
                _write(path, write, made)
                console.print(f"written: {path}", markup=False, highlight=False, soft_wrap=True)
    for problem in problems:
        told = f"not read: {plain(problem)}"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    return 0


def _write(path: Path, write: Any, made: Any) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, made)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror}); give another file."
        ) from error


def read_log(entry: Path, trusted: tuple[str, ...] = ()) -> RunLog | None:
    """The run an entry lies in; None where it lies elsewhere. A damaged run is a RecordError.

    `trusted` names modules whose worlds may be asked whether their texts may be published.
    """
    place = entry.parent
    if entry.name != "entry.json" or not (place / "config.toml").is_file():
        return None
    try:
        request = read_request(place)
        texts = _may_publish(request, trusted)
        states = [line for _, line in lines(place / "population.jsonl")]
        handed_in = (place / "champion.json").is_file()
        training, trained = _training(place / "episodes.jsonl", texts)
        return RunLog(
            rounds=tuple(_rounds(place / "rounds.jsonl")),
            prompts=tuple(_prompts(states)),
            champion=champion_of(place).prompt.id if handed_in else "",
            tests=tuple(
                _attempt(cast(Record, line), texts) for _, line in lines(place / "test.jsonl")
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
    """Whether what the world said may stand on a page.

    A world that reads files of somebody's own says so only for the files it comes with, unless the
    request itself says `publish`; a world that cannot be found, or is nobody's that is trusted, is
    not known.
    """
    options = request.world_table
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


def _rounds(path: Path) -> Iterator[LoggedRun]:
    for _, line in lines(path):
        r = cast(Record, line)
        spent, numbers = r["spent"], r.get("numbers", {})
        if not r["scores"]:
            continue
        yield LoggedRun(
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


def _prompts(states: Sequence[Record]) -> Iterator[Lived]:
    """Everybody who was ever in the population; of a method with one prompt, each it went through.

    The pool forgets its oldest members, so all rounds are asked; a member's last rating stands.
    """
    members: dict[str, Lived] = {}
    before = ""
    for state in states:
        for population in within(state["state"], "population"):
            for m in cast(Sequence[Record], population):
                members[str(m["id"])] = _lived(m)
        single = next(within(state["state"], "prompt"), None)
        if isinstance(single, Mapping) and str(single["id"]) not in members:
            id, round = str(single["id"]), int(cast(Any, state["round"]))
            principles = tuple(str(p) for p in cast(Sequence[str], single["principles"]))
            parents = (before,) if before else ()
            members[id] = Lived(id, principles, parents, "revision" if before else "root", round)
        if isinstance(single, Mapping):
            before = str(single["id"])
    yield from members.values()


def _lived(m: Record) -> Lived:
    rated = "mu" in m and m["mu"] is not None
    return Lived(
        id=str(m["id"]),
        principles=tuple(str(p) for p in m["principles"]),
        parents=tuple(str(p) for p in m["parents"]),
        origin=plain(str(m["origin"]), 40),
        born=int(m["born"]),
        mu=float(m["mu"]) if rated else None,
        sigma=float(m["sigma"]) if rated else None,
        played=int(m.get("played", 0)),
    )


def _training(path: Path, texts: bool) -> tuple[tuple[Attempt, ...], int]:
    """The first right and the first other episodes of each round, and how many there were."""
    chosen: list[Attempt] = []
    seen: dict[tuple[int, bool], int] = {}
    count = 0
    for _, line in lines(path):
        count += 1
        e = cast(Record, line)
        kind = (int(e["round"]), bool(e["success"]))
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= _EACH:
            chosen.append(_attempt(e, texts))
    step = -(-len(chosen) // _MOST) or 1
    return tuple(chosen[::step]), count


def _attempt(e: Record, texts: bool) -> Attempt:
    verdict = status(str(e["ending"]))
    turns = [(str(t["observation"]), str(t["reply"])) for t in e["turns"]]
    first = turns[0][0] if turns else ""
    hashed = hashlib.sha256(first.encode("utf-8", "surrogatepass")).hexdigest()
    return Attempt(
        round=int(e["round"]) if "round" in e else None,
        prompt=str(e.get("prompt", "")),
        task=str(e["task"]),
        sample=int(e["sample"]),
        status=verdict,
        reward=None if e["reward"] is None else float(e["reward"]),
        success=bool(e["success"]) if verdict != "unscored" else None,
        tokens=int(e["sampled"]),
        turns=tuple((said if texts else "", reply) for said, reply in turns),
        feedback=str(e["error"] or e["feedback"]) if texts else "",
        task_hash="" if texts else hashed,
    )
