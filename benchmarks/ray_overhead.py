"""What Ray costs an episode: scripted episodes in process, and through sampler actors.

    python -m benchmarks.ray_overhead --episodes 1000,10000,100000
    python -m benchmarks.ray_overhead --worlds --episodes 1000,10000

The episodes are real (the world `arithmetic` is reset, stepped and graded) and the replies free, so
the difference is what scheduling and moving requests and replies costs. Two samplers, one cluster
of its own on this machine; medians of interleaved repeats. With --worlds it is the worlds that are
away, in two actors, and the samplers here.
"""

import argparse
import time
from collections import deque
from collections.abc import Sequence
from statistics import median

import envs  # registers the worlds
from harness.cli.world_actors import Hosts
from harness.cli.worlds import make_world
from harness.cluster import connected
from harness.config import Config, EnvSection
from harness.engine import EngineSection
from harness.play import Table, WorldPool, play
from harness.policies import open_policy
from harness.policies.base import Policy, Request, Sampling
from harness.policies.remote_ray import open_remote
from harness.policies.settings import ModelSettings
from harness.seeds import Seeds
from harness.types import Assignment, Message, Split, SystemPrompt, Task
from harness.worlds import MakeWorld, World

URL = "scripted:constant=Answer: 5"
WORLD = "harness/Arithmetic-v1"
TASKS = 500


def here(split: Split) -> World:
    """A world in this process."""
    assert envs
    return make_world(WORLD, split)


def episodes(policy: Policy, count: int, make: MakeWorld = here) -> float:
    """Seconds in which so many are played."""
    prompt, each = SystemPrompt("Add."), max(1, count // TASKS)
    cast = [Assignment(prompt, Task("train", n % TASKS), each) for n in range(count // each)]
    worlds = WorldPool(make)
    table = Table(policy, worlds, Sampling(1.0, 1.0, 16), Seeds(0).child("bench"))
    began = time.perf_counter()
    played = sum(1 for _ in play(cast, table))
    took = time.perf_counter() - began
    worlds.close()
    assert played == count, (played, count)
    return took


def replies(policy: Policy, count: int) -> float:
    """Seconds in which so many requests are answered, without a world."""
    words = (Message("system", "Add."), Message("user", "What is 12 + 30?"))
    waiting = deque(Request(f"r{n}", words, Sampling(1.0, 1.0, 16), n) for n in range(count))
    began = time.perf_counter()
    given = sum(1 for _ in policy.generate(waiting))
    took = time.perf_counter() - began
    assert given == count, (given, count)
    return took


def worlds_away(counts: Sequence[int], repeats: int) -> None:
    """Print what an episode costs whose world is here, and in one of two actors."""
    policy = open_policy(URL)
    with connected(""):
        hosts = Hosts(Config(env=EnvSection(name=WORLD), engine=EngineSection("ray", worlds=2)))
        episodes(policy, 500, hosts.make)  # both are awake
        print("µs each                  in process  worlds in 2 actors")
        for count in counts:
            pairs = [
                (episodes(policy, count), episodes(policy, count, hosts.make))
                for _ in range(repeats)
            ]
            near, far = (1e6 * median(times) / count for times in zip(*pairs, strict=True))
            print(f"{count:>8,} episodes       {near:10.1f}  {far:10.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", default="1000,10000,100000")
    parser.add_argument("--chunks", default="32,256")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worlds", action="store_true", help="worlds away instead of samplers")
    asked = parser.parse_args()
    if asked.worlds:
        return worlds_away([int(n) for n in asked.episodes.split(",")], asked.repeats)
    chunks = [int(n) for n in asked.chunks.split(",")]
    policy = open_policy(URL)
    began = time.perf_counter()
    with connected(""):
        print(f"cluster of its own started in {time.perf_counter() - began:.1f} s")
        away = open_remote(URL, ModelSettings(), EngineSection(name="ray", samplers=2))
        print("µs each                  in process  " + "  ".join(f"chunks of {c}" for c in chunks))
        for measure in (replies, episodes):
            measure(away, 1000)  # both actors are awake
            for count in map(int, asked.episodes.split(",")):
                took: dict[int, list[float]] = {0: [], **{c: [] for c in chunks}}
                for _ in range(asked.repeats):
                    took[0].append(measure(policy, count))
                    for chunk in chunks:
                        away.engines._chunk = chunk  # type: ignore[attr-defined]  # same actors
                        took[chunk].append(measure(away, count))
                each = [f"{1e6 * median(of) / count:10.1f}" for of in took.values()]
                print(f"{count:>8,} {measure.__name__:<14} {'  '.join(each)}", flush=True)


if __name__ == "__main__":
    main()
