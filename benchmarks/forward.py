"""CPU seconds of `make run` with and without each half of the hand-written Llama forward.

    python -m benchmarks.forward --repeats 3

Each variant is a process of its own and they take turns: both halves (`model.forward=auto`), only
decoding, only packed training, and neither (`model.forward=transformers`).
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from tempfile import TemporaryDirectory

VARIANTS = ("both", "decoding only", "training only", "neither")
RUN = ("run", "--env", "calibration/both", "--model", "pocket", "--set", "model.threads=1")


def one(variant: str, arguments: list[str]) -> int:
    """Run the harness in this process as the variant."""
    from harness.cli.main import main
    from harness.policies.hf.decoder import TransformersDecoder
    from harness.policies.hf.policy import HFPolicy

    if variant in ("training only", "neither"):

        def plain(self: HFPolicy, adapted: bool) -> object:
            return TransformersDecoder(self._forward, lambda: self._switched(adapted))

        HFPolicy._decoder = plain  # type: ignore[method-assign, assignment]
    if variant in ("decoding only", "neither"):
        forward = property(lambda self: self._padded_forward)
        HFPolicy._train_forward = forward  # type: ignore[assignment]
    return main(arguments)


def seconds(variant: str, method: str, episodes: int) -> float:
    """CPU seconds of one run in a process of its own, start-up included."""
    with TemporaryDirectory() as folder:
        words = [*RUN, "--method", method, "--episodes", str(episodes), "--quiet"]
        command = [sys.executable, "-m", "benchmarks.forward"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [*command, "--one", variant, *words, "--run-dir", f"{folder}/run"],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print a table of medians and of ratios to the run with both halves."""
    if "--one" in sys.argv:
        at = sys.argv.index("--one")
        return one(sys.argv[at + 1], sys.argv[at + 2 :])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=320)
    parser.add_argument("--method", default="base,rl,evolution,espl")
    chosen = parser.parse_args()
    found: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(chosen.repeats):
        for variant in VARIANTS:
            found[variant].append(seconds(variant, chosen.method, chosen.episodes))
            print(f"{variant}: {found[variant][-1]:.1f} s", file=sys.stderr, flush=True)
    print("| variant | CPU seconds, median (range) | ratio to both |\n|---|---|---|")
    for variant, times in found.items():
        ratios = [t / b for t, b in zip(times, found["both"], strict=True)]
        print(
            f"| {variant} | {statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f}) "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
