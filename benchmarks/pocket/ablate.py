"""Ablations of E-SPL on a calibration environment: `python -m benchmarks.pocket.ablate --seeds
0-4`.

Each variant changes one setting of E-SPL. Every run is scored in four cells on the test split:
{base, trained weights} × {initial, selected prompt}; "trained, initial" has the evolved prompt
removed. Also printed: the rank correlation of the ratings' μ with the score of a worker who follows
each evaluated prompt exactly. Runs already in the output file are not repeated.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from agents.espl import ESPL
from agents.evolution import Evolution
from benchmarks.pocket.acting import FOLLOWS, told_by
from benchmarks.pocket.playing import WORLDS, Setting, opened, score, trained
from envs.calibration_language import MEANINGS, Convention
from harness.cli.options import seeds
from harness.method import Method
from harness.types import Agent, SystemPrompt
from leaderboards.stats.intervals import t_interval

VARIANTS: Mapping[str, Mapping[str, object]] = {
    "espl": {},
    "no crossover": {"crossover": 0.0},
    "current reflector": {"reflector": "current"},
    "uniform selection": {"selection": "newest_uniform"},
    "always crossover": {"crossover": 1.0},
    "noise-aware draws": {"noise": 1.0},
    "thompson": {"selection": "thompson"},
    "niching": {"selection": "niching"},
    "finals": {"finals": 5},
    "two islands": {"islands": 2},
}
CELLS = ("base, root", "base, evolved", "trained, root", "trained, evolved")


def knowledge(prompt: SystemPrompt, truth: Convention) -> float:
    """The chance that a faithful worker gets a single step right under this prompt.

    A sign that is told is taken as told in `FOLLOWS` of the cases; everything else is guessed
    evenly, and candidate meanings disagree on every task.
    """
    told, blind = told_by(prompt.principles), 1 / len(MEANINGS)
    chances = [
        (FOLLOWS * (told[sign] == meaning) + (1 - FOLLOWS) * blind) if sign in told else blind
        for sign, meaning in truth.items()
    ]
    return mean(chances)


def rank_correlation(method: Method, truth: Convention) -> float | None:
    """Spearman's ρ between μ and knowledge, over the prompts that played; None below three."""
    from scipy.stats import spearmanr

    half = method.evolution if isinstance(method, ESPL) else method
    assert isinstance(half, Evolution)
    rated = [(m.rating.mu, knowledge(m.prompt, truth)) for m in half.population if m.evaluations]
    if len(rated) < 3 or len({known for _, known in rated}) < 2:
        return None
    return float(spearmanr([mu for mu, _ in rated], [known for _, known in rated]).statistic)


def cells(
    setting: Setting, samples: int, wanted: Sequence[str] = CELLS
) -> tuple[Method, dict[str, float]]:
    """Train, then score the cells that are wanted, in points."""
    policy = opened(setting)
    method = trained(setting, policy)
    root, evolved = setting.prompts()[0], method.final_agent().prompt
    found = {}
    for weights, player in (("base", policy.reference), ("trained", policy)):  # type: ignore[attr-defined]
        for name, prompt in (("root", root), ("evolved", evolved)):
            if (cell := f"{weights}, {name}") in wanted:
                found[cell] = 100 * score(setting, player, Agent(prompt, player.version), samples)
    return method, found


def run(
    world: str, model: str, variant: str, seed: int, rounds: int, wanted: Sequence[str] = CELLS
) -> dict[str, Any]:
    """One variant on one seed."""
    options = {"learning_rate": 3e-3, **VARIANTS[variant]}
    reflector = str(options.pop("reflector", "reference"))
    setting = Setting(world, model, "espl", seed, rounds, options=options, reflector=reflector)
    method, found = cells(setting, 2, wanted)
    truth = setting.world_of("train").convention
    told = {"world": world, "variant": variant, "seed": seed, "rounds": rounds, "cells": found}
    known = knowledge(method.final_agent().prompt, truth)
    return told | {"rho": rank_correlation(method, truth), "knowledge": known}


def with_interval(values: Sequence[float], digits: int = 1) -> str:
    """The mean with its 95 % t interval over seeds."""
    interval = t_interval(values)
    span = f" [{interval.low:.{digits}f}, {interval.high:.{digits}f}]" if interval else ""
    return f"{mean(values):.{digits}f}{span}"


def _cell(done: Sequence[Mapping[str, Any]], cell: str) -> list[float]:
    return [one["cells"][cell] for one in done if cell in one["cells"]]


def tables(done: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Cells by variant; then each variant's joint cell against E-SPL's, paired over seeds."""
    table = Table("variant", *CELLS, "ρ(μ, knowledge)", "seeds")
    joint: dict[str, dict[int, float]] = {}
    for variant in VARIANTS:
        mine = [one for one in done if one["variant"] == variant]
        if not mine:
            continue
        joint[variant] = {one["seed"]: one["cells"][CELLS[3]] for one in mine}
        rhos = [one["rho"] for one in mine if one["rho"] is not None]
        shown = [with_interval(found) if (found := _cell(mine, cell)) else "–" for cell in CELLS]
        table.add_row(variant, *shown, with_interval(rhos, 2) if rhos else "–", str(len(mine)))
    yield table
    table = Table("difference", "points, 95 % paired t", "seeds")
    reference = joint.pop("espl", {})
    for variant, scores in joint.items():
        differences = [scores[s] - reference[s] for s in scores if s in reference]
        if differences:
            table.add_row(f"{variant} − espl", with_interval(differences), str(len(differences)))
    espl = [one["cells"] for one in done if one["variant"] == "espl"]
    for cell in CELLS[:3]:
        spread = [one[CELLS[3]] - one[cell] for one in espl if cell in one]
        if spread:
            table.add_row(f"joint − ({cell})", with_interval(spread), str(len(spread)))
    yield table


def main() -> None:
    """Run what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", default="both", choices=WORLDS)
    parser.add_argument("--model", default="hf:harness/policies/pocket")
    parser.add_argument("--seeds", type=seeds, default=tuple(range(5)))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--joint", action="store_true", help="score only trained, evolved")
    parser.add_argument("--out", type=Path, required=True, help="a JSONL file, added to")
    asked = parser.parse_args()
    done = (
        [json.loads(line) for line in asked.out.read_text().splitlines()]
        if asked.out.exists()
        else []
    )
    there = {(one["variant"], one["seed"]) for one in done}
    for seed in asked.seeds:
        for variant in asked.variants.split(","):
            if (variant, seed) in there:
                continue
            wanted = CELLS[3:] if asked.joint else CELLS
            one = run(asked.world, asked.model, variant, seed, asked.rounds, wanted)
            done.append(one)
            with asked.out.open("a") as file:
                file.write(json.dumps(one) + "\n")
            print(json.dumps(one), flush=True)
    for table in tables(done):
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
