"""Training of one method: `python -m benchmarks.pocket.try_method told evolution --seed 3`."""

import argparse
import time

from benchmarks.pocket.playing import WORLDS, Setting, opened, score, scores, trained
from harness.budget import Shape
from harness.types import Report


def main() -> None:
    """Print a line per iteration, the selected prompt and its test score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", choices=WORLDS)
    parser.add_argument("method")
    parser.add_argument("--model", default="hf:harness/policies/pocket")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--shape", default="8,2,5")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    asked = parser.parse_args()
    options: dict[str, object] = {}
    if asked.method in ("rl", "espl"):
        options["learning_rate"] = asked.learning_rate
    shape = Shape(*map(int, asked.shape.split(",")))
    setting = Setting(
        asked.world, asked.model, asked.method, asked.seed, asked.rounds, shape, options=options
    )
    policy = opened(setting)
    began = time.perf_counter()

    def told(index: int, mean: float, report: Report) -> None:
        numbers = {k: round(v, 3) for k, v in report.metrics.items() if "grad" in k or "edits" in k}
        print(f"{index:3d} {time.perf_counter() - began:6.1f} s  {mean:.3f}  {numbers}", flush=True)
        for line in report.lines:
            print(f"      {line}")

    method = trained(setting, policy, told)
    champion = method.final_agent()
    print(champion.prompt.text)
    truth = setting.prompts()[1]
    print("truth:", *truth.principles, sep="\n  ")
    print("spent:", policy.meter.spent)
    print("champion on test:", score(setting, policy, champion))
    print("these weights:", dict(scores(setting, policy, 2)))


if __name__ == "__main__":
    main()
