"""Tables of a finished run for experiment trackers: prompts with lineage, sample rollouts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from harness.display.tracker import Cell
from harness.runs.history.logged import read_prompts
from harness.storage.atomic_files import lines

_PROMPTS = ("id", "parents", "origin", "generation", "mu", "sigma", "evaluations", "principles")
_ROLLOUTS = (
    "iteration",
    "task",
    "sample",
    "prompt",
    "reward",
    "success",
    "task text",
    "completion",
)
_EACH = 4  # rollouts of each iteration
_MOST = 400  # rollouts in all
_TEXT = 4_000  # characters of one text

Table = tuple[str, Sequence[str], Sequence[Sequence[Cell]]]


def tables_of(run_dir: Path) -> Iterator[Table]:
    """Every prompt that was written, and the first rollouts of each iteration, evenly thinned."""
    prompts = [
        (
            one.id,
            ", ".join(one.parents),
            one.origin,
            one.generation,
            one.mu,
            one.sigma,
            one.evaluations,
            "\n".join(one.principles)[:_TEXT],
        )
        for one in read_prompts(run_dir / "population.jsonl")
    ]
    yield "prompts", _PROMPTS, prompts
    rollouts = list(_rollouts(run_dir / "episodes.jsonl"))
    step = -(-len(rollouts) // _MOST) or 1
    yield "rollouts", _ROLLOUTS, rollouts[::step]


def _rollouts(path: Path) -> Iterator[Sequence[Cell]]:
    seen: dict[int, int] = {}
    for _, line in lines(path):
        e = cast(Mapping[str, Any], line)
        seen[e["round"]] = seen.get(e["round"], 0) + 1
        if seen[e["round"]] <= _EACH and e["turns"]:
            yield (
                e["round"] + 1,
                e["task"],
                e["sample"],
                e["prompt"],
                e["reward"],
                e["success"],
                e["turns"][0]["observation"][:_TEXT],
                e["turns"][-1]["reply"][:_TEXT],
            )
