"""Check of the calibration environments by interventions: `python -m benchmarks.pocket.admit`.

Before any method runs, interventions must show that an environment lacks what its name says. Four
cells on the test split: {base weights, weights trained long with the true principles} × {initial
prompt, true principles}, trained by RL through the harness policy's own update.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from benchmarks.pocket.playing import WORLDS, Setting, opened, scores, trained
from harness.budget import Shape

Cells = Mapping[str, float]


def cells(world: str, model: str, seed: int, rounds: int, samples: int, rate: float) -> Cells:
    """The four scores of one environment, in per cent."""
    setting = Setting(world, model, "rl", seed, rounds, Shape(8, 2, 5))
    setting.options["learning_rate"] = rate
    setting.root = setting.prompts()[1]
    policy = opened(setting)
    before = dict(scores(setting, policy, samples))
    trained(setting, policy)
    after = dict(scores(setting, policy, samples))
    return {f"base {name}": 100 * score for name, score in before.items()} | {
        f"trained {name}": 100 * score for name, score in after.items()
    }


def verdict(world: str, found: Cells) -> tuple[bool, str]:
    """True if an environment lacks what its name says; with the condition."""
    root, told = found["base root"], found["base principles"]
    practised, joint = found["trained root"], found["trained principles"]
    if world == "told":
        return told - root >= 30 and 5 <= root <= 15, "principles alone at least +30, root 5 to 15"
    if world == "shown":
        return practised - root >= 30, "weights alone at least +30"
    if world == "both":
        short = joint - max(root, told, practised)
        return short >= 15 and 5 <= root <= 15, "joint at least 15 above any other, root 5 to 15"
    spread = max(found.values()) - min(found.values())
    return spread <= 4, "all within 2 of their middle"


def main() -> int:
    """Print the table; exit code 1 if an environment is not as intended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="hf:harness/policies/pocket")
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=WORLDS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if any(seed > 19 for seed in asked.seeds):
        sys.exit("World seeds over 19 are kept for confirmation: admit on seeds 0 to 19.")
    names = ["base root", "base principles", "trained root", "trained principles"]
    table = Table("world", *names, "condition", "admitted")
    admitted, kept = True, {}
    for world in asked.worlds:
        each = [
            cells(world, asked.model, seed, asked.rounds, asked.samples, asked.learning_rate)
            for seed in asked.seeds
        ]
        found = {name: mean(c[name] for c in each) for name in names}
        good, condition = verdict(world, found)
        admitted &= good
        kept[world] = {"mean": found, "seeds": dict(zip(map(str, asked.seeds), each, strict=True))}
        table.add_row(world, *(f"{found[n]:.1f}" for n in names), condition, str(good))
        print(world, json.dumps(kept[world]), flush=True)
    Console().print(table)
    if asked.out:
        asked.out.write_text(json.dumps(kept, indent=2) + "\n")
    return 0 if admitted else 1


if __name__ == "__main__":
    sys.exit(main())
