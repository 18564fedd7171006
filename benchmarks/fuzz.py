"""Fuzzing of every parser of untrusted text.

    python -m benchmarks.fuzz --target edits --seconds 60 --seed 0

Each target of `benchmarks.fuzz_targets` receives texts made from well-formed ones by cutting,
doubling, splicing and inserting markers that the parsers look for. A finding is an exception, a
broken property, or an input that exceeds its deadline. It is printed with the input that reproduces
it, and the exit code is 1. `--engine atheris` lets coverage guide instead (pip install '.[fuzz]').
"""

import argparse
import json
import random
import signal
import sys
import time
from types import FrameType

from benchmarks.fuzz_pipes import Target
from benchmarks.fuzz_targets import TARGETS, WORDS, samples

MOST = 4000  # characters of an input; one in 500 is a hundred times as long


class Late(Exception):
    """An input took longer than its deadline."""


def _late(number: int, frame: FrameType | None) -> None:
    raise Late


def invented(rng: random.Random, pool: list[str]) -> str:
    """One input: a few changes to a known text."""
    text = rng.choice(pool) if rng.random() < 0.8 else ""
    for _ in range(rng.randint(0, 12)):
        place = rng.randint(0, len(text))
        step = rng.random()
        if step < 0.45:
            text = text[:place] + rng.choice(WORDS) + text[place:]
        elif step < 0.6:
            text = (
                text[:place]
                + chr(rng.choice((rng.randrange(128), rng.randrange(0x10FFFF))))
                + text[place:]
            )
        elif step < 0.75:
            text = text[:place] + text[place + rng.randint(1, 20) :]
        elif step < 0.85:
            text = text[:place] + text[place : place + 40] * rng.randint(2, 6) + text[place:]
        elif step < 0.95:
            other = rng.choice(pool)
            text = text[:place] + other[rng.randint(0, len(other)) :]
        else:
            text = text[:place] + rng.choice(WORDS) * rng.randint(2, 60) + text[place:]
    if rng.random() < 0.002:
        text = (text or rng.choice(WORDS)) * (100 * MOST // max(1, len(text)))
        return text[: 100 * MOST]
    return text[:MOST]


def tried(check: Target, text: str, deadline: float) -> str:
    """The problem with one input, in a line; "" if there is none."""
    before = signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, deadline)
    try:
        check(text)
    except Late:
        return f"longer than {deadline:g} s"
    except Exception as error:  # any is a finding
        return f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return ""


class Fuzzer:
    """One target and its inputs; findings are told once by their first words."""

    def __init__(self, name: str, seed: int, deadline: float) -> None:
        self.name, self.deadline = name, deadline
        self._check, self._rng = TARGETS[name](), random.Random(f"{name}/{seed}")
        self._pool = samples(name)
        self.found: dict[str, str] = {}
        self.slowest, self.done = 0.0, 0

    def go(self, seconds: float, count: int = 0) -> None:
        """Try inputs until time or count is up; 0 is no bound."""
        began, until = time.monotonic(), self.done + count
        while (not count or self.done < until) and (
            not seconds or time.monotonic() - began < seconds
        ):
            text = invented(self._rng, self._pool)
            start = time.monotonic()
            problem = tried(self._check, text, self.deadline)
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.done += 1
            if problem and problem[:60] not in self.found:
                self.found[problem[:60]] = text
                print(f"FOUND {self.name}: {problem}\n  {text[:600]!r}", flush=True)


def fuzz(name: str, seed: int, seconds: float, count: int, deadline: float) -> dict[str, object]:
    """Fuzz one target until time or count is up."""
    one = Fuzzer(name, seed, deadline)
    began = time.monotonic()
    one.go(seconds, count)
    return {
        "target": name, "seed": seed, "inputs": one.done,
        "seconds": round(time.monotonic() - began, 1),
        "slowest_s": round(one.slowest, 3), "found": len(one.found),
    }  # fmt: skip


def guided(name: str, seconds: float, seed: int) -> None:
    """Run the target under atheris, which does not return."""
    import atheris

    with atheris.instrument_imports(include=["agents", "envs", "harness", "leaderboards"]):
        check = TARGETS[name]()

    def one(data: bytes) -> None:
        check(data.decode("utf-8", "surrogateescape"))

    # Surrogate escapes are hostile text as well, on purpose.
    words = [sys.argv[0], f"-max_total_time={int(seconds)}", f"-seed={seed + 1}", "-timeout=10"]
    atheris.Setup(words, one)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--seconds", type=float, default=0, help="per target")
    parser.add_argument("--count", type=int, default=0, help="inputs per target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--deadline", type=float, default=10.0, help="time limit of one input, seconds"
    )
    parser.add_argument("--engine", choices=["random", "atheris"], default="random")
    asked = parser.parse_args()
    if not (asked.seconds or asked.count):
        asked.seconds = 10.0
    if asked.engine == "atheris":
        guided(asked.target, asked.seconds, asked.seed)
        return 0
    names = list(TARGETS) if asked.target == "all" else [asked.target]
    broken = 0
    for name in names:
        result = fuzz(name, asked.seed, asked.seconds, asked.count, asked.deadline)
        print(json.dumps(result), flush=True)
        broken += bool(result["found"])
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
