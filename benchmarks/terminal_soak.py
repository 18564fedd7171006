"""Stress test of shell tasks with workers killed at random, and their speed without kills.

    python benchmarks/terminal_soak.py --episodes 200 --kills 60 --seed 0
    python benchmarks/terminal_soak.py --at-once 1 8 20 --episodes 40

With kills, workers run the reference solution and some hostile commands. Chosen attempts end by
SIGKILL at a random moment and are repeated. Afterwards no container, volume, mount or process of
theirs may exist. DOCKER_HOST names the daemon, which must be on this machine.
"""

import argparse
import os
import random
import re
import select
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import docker

from envs.containers.daemon import connect
from envs.containers.owner import OWNER, identity, orphaned
from envs.containers.reaping import left
from envs.terminal.env import Terminal

MISCHIEF = (
    "true",
    "sleep 1000 & echo on",
    "setsid sh -c 'while :; do sleep 1; done' >/dev/null 2>&1 &",
    "dd if=/dev/zero of=junk bs=1M count=64; rm junk",
    "b() { b | b & }; b; b",
    "sleep 1.5",
)
LONGEST_DELAY = 2.5
PATIENCE = 300.0
HOME = Path(__file__).resolve().parents[1]


def play(env: Terminal, number: int) -> float:
    """One episode by the reference solution after a hostile command; returns its reward."""
    env.reset(seed=number)
    earned, over = 0.0, False
    env.step(f"```sh\n{MISCHIEF[number % len(MISCHIEF)]}\n```")
    for reply in (f"```sh\n{env.current.answer}\n```", "Done"):
        if not over:
            _, reward, ended, late, _ = env.step(reply)
            earned, over = earned + reward, ended or late
    return earned


def work() -> None:
    """A worker: says who it is and what it found, then plays the numbers it is given."""
    client = docker.from_env()
    found = len(left(client, orphaned))
    client.close()
    env = Terminal(split="train", command_seconds=5.0)
    print(identity(), found, flush=True)
    for line in sys.stdin:
        print(play(env, int(line)), flush=True)
    env.close()


class Worker:
    """A process that plays; `hear` waits for its next line."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.terminal_soak", "--work"],
            cwd=HOME,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        line = self.hear(PATIENCE)
        self.identity, self.found = line.split()[0], int(line.split()[1])

    def hear(self, seconds: float) -> str:
        assert self.process.stdout is not None
        ready = select.select([self.process.stdout], [], [], seconds)[0]
        return self.process.stdout.readline() if ready else ""

    def say(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def end(self, kill: bool) -> None:
        if kill:
            self.process.kill()
        with self.process:
            pass
        if not kill and self.process.returncode:
            raise SystemExit(f"a worker ended with status {self.process.returncode}")


class Soak:
    """Episodes to run, their outcomes and workers."""

    def __init__(self, episodes: int, kills: int, seed: int) -> None:
        rng = random.Random(seed)
        self.waiting = deque(range(episodes))
        self.doomed = set(rng.sample(range(episodes), kills))
        self.delays = [rng.uniform(0.0, LONGEST_DELAY) for _ in range(episodes + kills)]
        self.rewards: list[float] = []
        self.identities: set[str] = set()
        self.attempts = self.killed = self.interrupted = self.found = 0
        self.lock = threading.Lock()

    def start(self) -> Worker:
        worker = Worker()
        with self.lock:
            self.identities.add(worker.identity)
            self.found += worker.found
        return worker

    def next(self) -> tuple[int, float | None] | None:
        """The next episode and, where the attempt is doomed, when it is killed."""
        with self.lock:
            if not self.waiting:
                return None
            attempt, self.attempts = self.attempts, self.attempts + 1
            return self.waiting.popleft(), self.delays[attempt] if attempt in self.doomed else None

    def run(self) -> None:
        """One seat: plays until nothing waits."""
        worker = self.start()
        while (drawn := self.next()) is not None:
            number, delay = drawn
            worker.say(str(number))
            summary = worker.hear(PATIENCE if delay is None else delay)
            if delay is not None:
                worker.end(kill=True)
                worker = self.start()
            with self.lock:
                self.killed += delay is not None
                if summary:
                    self.rewards.append(float(summary))
                else:
                    self.interrupted += 1
                    self.waiting.append(number)
        worker.end(kill=False)


class Watch:
    """Every container and volume the daemon makes while this watches, by any process."""

    def __init__(self) -> None:
        self.made: set[str] = set()
        self._client = docker.from_env()
        self._events = self._client.events(decode=True, filters={"event": "create"})
        self._thread = threading.Thread(target=self._note)
        self._thread.start()

    def _note(self) -> None:
        for event in self._events:
            self.made.add(event["Actor"]["ID"])

    def end(self) -> set[str]:
        self._events.close()
        self._thread.join()
        self._client.close()
        return self.made


def remains(client: docker.DockerClient, identities: set[str], made: set[str]) -> list[str]:
    """Everything on this machine and its daemon that the soak left, of all that was `made`."""
    found = left(client, lambda labels: labels.get(OWNER) in identities)
    for place in Path("/proc").glob("[0-9]*"):
        try:
            lines = (place / "cgroup").read_text() + (place / "cmdline").read_text()
        except OSError:
            continue
        ids = set(re.findall(r"(?:docker[/-]|-id\0)([0-9a-f]{64})", lines)) & made
        found += [f"process {place.name} of container {id}" for id in ids]
    mounts = set(re.findall(r"espl-harness-[0-9a-f]{32}", Path("/proc/mounts").read_text()))
    return found + [f"mount of volume {name}" for name in mounts & made]


@dataclass(frozen=True)
class Outcome:
    """Result of a stress test; `rest` names everything left behind."""

    episodes: int
    right: int
    killed: int
    interrupted: int
    orphans: int
    made: int
    seconds: float
    rest: tuple[str, ...]


def soak(episodes: int, kills: int, seed: int, workers: int) -> Outcome:
    """Run and kill episodes, start once more, look for anything left."""
    plan, watch = Soak(episodes, kills, seed), Watch()
    started = time.monotonic()
    with ThreadPoolExecutor(workers) as seats:
        for seat in [seats.submit(plan.run) for _ in range(workers)]:
            seat.result()
    seconds = time.monotonic() - started
    client = connect()
    made = watch.end()
    rest = remains(client, plan.identities, made)
    return Outcome(
        episodes=len(plan.rewards),
        right=sum(reward == 1.0 for reward in plan.rewards),
        killed=plan.killed,
        interrupted=plan.interrupted,
        orphans=plan.found,
        made=len(made),
        seconds=seconds,
        rest=tuple(rest),
    )


def summary(found: Outcome, workers: int) -> str:
    """The outcome as text."""
    return (
        f"{found.episodes} episodes ended, {found.right} right; {found.killed} workers killed, "
        f"{found.interrupted} of them in the middle of an episode; {found.orphans} orphaned "
        f"containers and volumes, of {found.made} created, were removed by later starts; "
        f"{found.seconds:.0f} s with {workers} workers\n"
    ) + ("\n".join(found.rest) or "nothing left: no container, volume, mount or process")


def throughput(episodes: int, at_once: int) -> None:
    """Episodes a second with so many containers open at a time, the oracle playing."""
    environments = [Terminal(split="train") for _ in range(at_once)]
    idle = deque(environments)

    def one(number: int) -> float:
        env = idle.pop()
        env.reset(seed=number)
        for _ in range(2):
            _, reward, *_ = env.step(env.oracle())
        idle.append(env)
        return reward

    started = time.monotonic()
    with ThreadPoolExecutor(at_once) as seats:
        right = sum(seats.map(one, range(episodes)))
    seconds = time.monotonic() - started
    load = os.getloadavg()[0]
    print(
        f"{at_once:3} at once: {episodes / seconds:5.2f} episodes/s "
        f"({episodes} episodes, {right:.0f} right, {seconds:.1f} s, load {load:.1f})"
    )
    for env in environments:
        env.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--at-once", type=int, nargs="+", help="measure speed instead")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not asked.at_once and asked.kills > asked.episodes:
        parser.error("--kills can be at most --episodes: an attempt is killed once")
    if asked.work:
        work()
        return 0
    for at_once in asked.at_once or ():
        throughput(asked.episodes, at_once)
    if asked.at_once:
        return 0
    found = soak(asked.episodes, asked.kills, asked.seed, asked.workers)
    print(summary(found, asked.workers))
    return 0 if found.right == asked.episodes and not found.rest else 1


if __name__ == "__main__":
    raise SystemExit(main())
