"""Iterations and prompts of a run, read back from its logs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from harness.display.console_text import plain
from harness.storage.atomic_files import whole_lines
from harness.types import JSON
from leaderboards.site.log import PopulationMember, RoundLog

Record = Mapping[str, Any]

_ORIGINS = {"root": "initial"}
_LINES = 20  # lines shown of a round's summary


def read_rounds(path: Path) -> Iterator[RoundLog]:
    """The iterations of a run's `rounds.jsonl` that sampled something."""
    for line in whole_lines(path):
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


def read_prompts(path: Path) -> Iterator[PopulationMember]:
    """Prompts in a run's `population.jsonl`.

    Every prompt that was ever in the population; for a method with one prompt, each version.

    The pool drops its oldest members, so all rounds are read; a member keeps its last rating.
    """
    members: dict[str, PopulationMember] = {}
    before = ""
    for line in whole_lines(path):
        state = cast(Record, line)
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


def within(state: JSON, wanted: str) -> Iterator[JSON]:
    """Every value of that name in a method's state, however it nests."""
    if isinstance(state, Mapping):
        for name, value in state.items():
            if name == wanted:
                yield value
            else:
                yield from within(value, wanted)
