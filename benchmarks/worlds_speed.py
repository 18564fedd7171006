"""Episodes per second of every environment with its reference solution, in one process.

    python benchmarks/worlds_speed.py                            every installed environment
    python benchmarks/worlds_speed.py guess_number textarena/Set only these
    python benchmarks/worlds_speed.py reasoning_gym              all of a family

"First" is the time until the first episode ends: importing, generating, starting processes. The
rate is over the later episodes. No model is involved.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

import envs
from envs.errors import EnvError
from envs.known_envs import FAMILIES
from envs.resolution import members

SAMPLES = {
    "reasoning_gym": ("chain_sum", "countdown", "gsm_symbolic", "mini_sudoku", "zebra_puzzles"),
    "textarena": ("FrozenLake-random", "Mastermind", "Minesweeper", "Sokoban", "Sudoku-easy"),
    "textworld": ("easy", "medium"),
}
"""Members that represent a family if none of its environments is named."""


@dataclass(frozen=True)
class Speed:
    first: float
    episodes: int
    seconds: float
    turns: int
    reward: float

    @property
    def row(self) -> tuple[str, ...]:
        return (
            f"{self.first:.2f}",
            str(self.episodes),
            f"{self.episodes / self.seconds:,.1f}",
            f"{self.turns / self.seconds:,.0f}",
            f"{self.turns / self.episodes:.1f}",
            f"{self.reward / self.episodes:.3f}",
        )


def episode(env: envs.TextEnv, seed: int) -> tuple[int, float]:
    """Turns and reward of one episode by the reference solution."""
    env.reset(seed=seed)
    turns, earned, over = 0, 0.0, False
    while not over:
        _, reward, terminated, truncated, _ = env.step(env.oracle())
        turns, earned = turns + 1, earned + float(reward)
        over = terminated or truncated
    return turns, earned


def measured(name: str, seconds: float, most: int) -> Speed:
    """Run one split of an environment for so many seconds, or so many episodes."""
    began = time.perf_counter()
    env = envs.make(name, "train")
    episode(env, 0)
    first = time.perf_counter() - began
    episodes, turns, reward = 0, 0, 0.0
    began = time.perf_counter()
    while not episodes or (episodes < most and time.perf_counter() - began < seconds):
        played = episode(env, episodes + 1)
        episodes, turns, reward = episodes + 1, turns + played[0], reward + played[1]
    spent = time.perf_counter() - began
    env.close()
    return Speed(first, episodes, spent, turns, reward)


def wanted(names: list[str]) -> Iterator[str]:
    """The requested environments: named ones, whole families, or all with some of each family."""
    if not names:
        yield from envs.names()
        for family in FAMILIES:
            yield from (f"{family}/{member}" for member in SAMPLES.get(family, ()))
    for name in names:
        if name in FAMILIES:
            yield from members(name)
        else:
            yield name


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("environments", nargs="*", help="names of environments or families")
    parser.add_argument("--seconds", type=float, default=3.0, help="per environment")
    parser.add_argument("--episodes", type=int, default=500, help="limit per environment")
    arguments = parser.parse_args()
    table = Table(box=None)
    for column in (
        "environment",
        "first s",
        "episodes",
        "episodes/s",
        "turns/s",
        "turns",
        "reward",
    ):
        table.add_column(
            column, justify="left" if column == "environment" else "right", no_wrap=True
        )
    left_out = []
    for name in wanted(arguments.environments):
        try:
            table.add_row(name, *measured(name, arguments.seconds, arguments.episodes).row)
        except EnvError as reason:
            left_out.append(f"{name}: {reason}")
    console = Console(width=120)
    console.print(table)
    for line in left_out:
        console.print(f"not measured: {line}", highlight=False)


if __name__ == "__main__":
    main()
