"""Model of what limits a training iteration on 1 to 1,000 GPUs, from numbers with their sources.

    python benchmarks/scaling.py                                  every scenario of scaling.toml
    python benchmarks/scaling.py --scenario qwen3-4b-h100 --lengths runs/…/episodes.jsonl
    python benchmarks/scaling.py --numbers mine.toml --json

E episodes of T turns, completions of length L drawn from a distribution, G GPUs:

    rollout    max( E·T·E[L] / (min(G, E)·sample rate),             all GPUs sample
                    E·T·E[s] / (G·sandboxes a GPU),                 all wait for sandboxes
                    E[max of E: T·(L·step + s)] )                   the longest episode
    training   max( E·T·(prompt + E[L]) / (min(G, E)·train rate),
                    (prompt + E[max L]) / train rate )              a sequence is not divided
    reflection max( tokens / (G·sample rate), 4·length·step )       four stages, one after the other
    round      rollout + max(training + transfer, reflection) + E·harness

The turns of an episode are taken to be alike, which makes the longest episode longer than it is.
`overlap` is what a trainer would take that samples a round while it takes the step of the one
before, which this harness does not: max(rollout, training + transfer, reflection).
"""

import argparse
import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
STAGES = 4  # summaries, critiques, edits, aggregation (E-SPL App. A.1–A.5)
BAR = 24


@dataclass(frozen=True)
class Numbers:
    """A scenario; `lengths` and `sandbox_seconds` are equally probable values."""

    episodes: float
    turns: float
    prompt: float
    lengths: list[float]
    sample_rate: float
    step_seconds: float
    train_rate: float
    sandbox_seconds: list[float]
    sandboxes_per_gpu: float
    transfer_seconds: float
    reflection_tokens: float
    reflection_length: float
    harness_seconds: float


@dataclass(frozen=True)
class Round:
    """Seconds of one round on so many GPUs, and what bounds it."""

    gpus: int
    rollout: float
    training: float
    transfer: float
    reflection: float
    harness: float
    bound: str

    @property
    def seconds(self) -> float:
        """Strictly on-policy: one part after the other, reflection beside the gradient step."""
        return self.rollout + max(self.training + self.transfer, self.reflection) + self.harness

    @property
    def overlapped(self) -> float:
        """By a trainer that samples a round while it takes the step of the one before."""
        return max(self.rollout, self.training + self.transfer, self.reflection) + self.harness


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def expected_max(values: list[float], draws: float) -> float:
    """Of so many draws from equally probable values: Σ x_(i) [(i/n)^k − ((i−1)/n)^k]."""
    ordered, n = sorted(values), len(values)
    return sum(x * ((i / n) ** draws - ((i - 1) / n) ** draws) for i, x in enumerate(ordered, 1))


def reckon(s: Numbers, gpus: int) -> Round:
    """The formula above."""
    useful = min(gpus, s.episodes)
    length, wait = mean(s.lengths), mean(s.sandbox_seconds)
    chains = [s.turns * (x * s.step_seconds) for x in s.lengths]
    longest = expected_max(chains, s.episodes) + s.turns * wait
    rollout = {
        "sampling": s.episodes * s.turns * length / (useful * s.sample_rate),
        "sandboxes": s.episodes * s.turns * wait / (gpus * s.sandboxes_per_gpu),
        "the longest episode": longest,
    }
    tokens = s.episodes * s.turns * (s.prompt + length)
    training = {
        "training": tokens / (useful * s.train_rate),
        "the longest sequence": (s.prompt + expected_max(s.lengths, s.episodes)) / s.train_rate,
    }
    reflection = {
        "reflecting": s.reflection_tokens / (gpus * s.sample_rate),
        "the reflection's four stages": STAGES * s.reflection_length * s.step_seconds,
    }
    parts = {
        **{max(p, key=p.__getitem__): max(p.values()) for p in (rollout, training, reflection)},
        "weight transfer": s.transfer_seconds,
        "the harness": s.episodes * s.harness_seconds,
    }
    return Round(
        gpus,
        max(rollout.values()),
        max(training.values()),
        s.transfer_seconds,
        max(reflection.values()),
        s.episodes * s.harness_seconds,
        max(parts, key=parts.__getitem__),
    )


def read_lengths(path: Path) -> list[float]:
    """Sampled tokens of every turn in a run's episodes.jsonl."""
    episodes = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [float(turn["sampled"]) for e in episodes for turn in e["turns"]]


def floor_of(seconds: dict[int, float]) -> tuple[float, float]:
    """The two numbers of a/G + b through two points: what shrinks with GPUs and what does not."""
    (g1, t1), (g2, t2) = sorted(seconds.items())
    a = (t1 - t2) / (1 / g1 - 1 / g2)
    return a, t1 - a / g1


def show(name: str, table: dict[str, Any], numbers: Numbers) -> None:
    rounds = [reckon(numbers, g) for g in GPUS]
    print(f"\n{name}: {table['about']}")
    print(
        "  GPUs  round s  overlap  speed-up  episodes/h  rollout train transfer reflect  bound by"
    )
    for r in rounds:
        speed = rounds[0].seconds / r.seconds
        bar = "█" * max(1, round(BAR * r.seconds / rounds[0].seconds))
        print(
            f"  {r.gpus:4} {r.seconds:8.1f} {r.overlapped:8.1f} {speed:8.1f}× "
            f"{3600 * numbers.episodes / r.seconds:11,.0f} {r.rollout:8.1f} {r.training:5.1f} "
            f"{r.transfer:8.1f} {r.reflection:7.1f}  {r.bound:28} {bar}"
        )
    enough = next(r for r in rounds if r.seconds <= 1.1 * rounds[-1].seconds)
    print(
        f"  more GPUs than {enough.gpus} make such a round less than 10 % shorter; "
        f"{GPUS[-1]} carry {GPUS[-1] // enough.gpus} such runs (methods × seeds) at once"
    )
    weak = [k for k, v in table.items() if isinstance(v, dict) and "assumed" in str(v["source"])]
    print(f"  assumed, not measured: {', '.join(weak) or 'nothing'}")
    print(
        f"  training rate {table['train_rate']['value']} tokens/s, {table['train_rate']['source']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).with_name("scaling.toml")
    parser.add_argument("--numbers", type=Path, default=here)
    parser.add_argument("--scenario")
    parser.add_argument("--lengths", type=Path, help="episodes.jsonl of a run")
    parser.add_argument("--episodes", type=int, help="episodes per iteration")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    scenarios = tomllib.loads(asked.numbers.read_text(encoding="utf-8"))
    anchors = scenarios.pop("anchors", {})
    if asked.scenario and asked.scenario not in scenarios:
        parser.error(f"there is no scenario {asked.scenario}; known: {', '.join(scenarios)}")
    chosen = [asked.scenario] if asked.scenario else list(scenarios)
    out = {}
    for name in chosen:
        table = scenarios[name]
        values = {k: v["value"] for k, v in table.items() if k != "about"}
        if asked.lengths:
            values["lengths"] = read_lengths(asked.lengths)
            table["lengths"] = {"source": f"measured: {asked.lengths}"}
        if asked.episodes:
            values["episodes"] = asked.episodes
        numbers = Numbers(**values)
        rounds = [reckon(numbers, g) for g in GPUS]
        out[name] = [
            {**asdict(r), "seconds": r.seconds, "overlapped": r.overlapped} for r in rounds
        ]
        if not asked.json:
            show(name, table, numbers)
    if asked.json:
        print(json.dumps(out))
        return
    for name, anchor in anchors.items():
        for kind in ("seconds", "asynchronous"):
            points = {int(g): float(t) for g, t in anchor[kind].items()}
            a, b = floor_of(points)
            at = ", ".join(f"{t:g} s on {g}" for g, t in points.items())
            print(f"\n{name} ({kind}): {at} GPUs fit {a:,.0f}/G + {b:.0f} s; {anchor['source']}")


if __name__ == "__main__":
    main()
