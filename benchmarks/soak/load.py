"""Thousands of conversations at once against a server with six kinds of faults, 5 % each.

Every conversation takes two turns. The scripted ones are all open at the same time; the others go
through the `openai:` policy to a loopback server. Each must end exactly once, with the reward that
its completions deserve or unscored with a reason, never with another reward. No client may ignore a
429 with a retry time, episodes must keep ending, and later waves may use no more memory.
"""

import gc
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium

from benchmarks.soak._frame import Found
from benchmarks.soak._server import FAULTS, Body, Manners, chance, served
from harness.env_pool import EnvPool
from harness.policies.base import Policy, Request, Sampling
from harness.policies.openai.address import parse_address
from harness.policies.openai.policy import EndpointPolicy
from harness.policies.scripted import ScriptedPolicy
from harness.rollout import RolloutConfig, rollout
from harness.seeds import Seeds
from harness.settings.model import ModelSettings
from harness.types import Assignment, Ending, Episode, SystemPrompt, Task

COUNT = 10_000  # episodes of each kind
SHARE = 0.05  # of each fault
WAVES = 4
ROOT = SystemPrompt("Reply with twice the number.")
GROWTH = 48 << 20  # bytes that waves after the first may add: pages that an allocator keeps


class Doubling(gymnasium.Env[str, str]):
    """Two numbers to double, one a turn; half of the reward each."""

    observation_space = action_space = gymnasium.spaces.Text(100)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        self.number, self.turns = seed or 0, 0
        return str(self.number), {}

    def step(self, reply: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        reward = 0.5 if reply == str(2 * self.number) else 0.0
        self.number, self.turns = self.number + 1, self.turns + 1
        return str(self.number), reward, self.turns == 2, False, {"success": reward > 0}


def right(number: int) -> bool:
    """True if the model doubles this number correctly: in two cases of three."""
    return chance("right", number) < 2 / 3


def say(number: int) -> str:
    return str(2 * number if right(number) else -1)


def deserved(task: int) -> float:
    """The reward of an episode all of whose replies arrived."""
    return 0.5 * right(task) + 0.5 * right(task + 1)


def memory() -> int:
    """Bytes that this process has in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Tally:
    """Outcomes of the episodes, and the longest time in which none ended."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.seen: Counter[tuple[int, int]] = Counter()
        self.wrong: list[str] = []
        self.longest, self._last = 0.0, time.monotonic()

    def note(self, episode: Episode) -> None:
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now
        number = episode.task.seed
        self.seen[number, episode.sample] += 1
        self.outcomes["scored" if episode.scored else "unscored"] += 1
        if episode.ending is Ending.FAILED:
            if not episode.error:
                self.wrong.append(f"episode {number} is unscored for no reason")
        elif episode.reward != deserved(number):
            self.wrong.append(f"episode {number} earned {episode.reward}, not {deserved(number)}")

    def missing(self, count: int) -> list[str]:
        """Episodes that did not end exactly once."""
        twice = sum(n > 1 for n in self.seen.values())
        lost = count - len(self.seen)
        return [f"{lost} episodes never ended, {twice} ended twice"] if lost or twice else []


def episodes(policy: Policy, first: int, count: int, seats: int) -> Iterator[Episode]:
    # Doubling has the methods that a rollout calls and no more.
    pool = EnvPool(lambda split: Doubling())  # type: ignore[arg-type, return-value]
    table = RolloutConfig(policy, pool, Sampling(max_tokens=8), Seeds(first))
    cast = [Assignment(ROOT, Task("train", n), 1) for n in range(first, first + count)]
    for _, episode in rollout(cast, table, seats):
        yield episode
    pool.close()


def scripted(count: int, seed: int) -> tuple[Tally, list[int]]:
    """All at once, wave after wave; and the memory after each."""

    def reply(request: Request) -> str:
        return say(int(request.conversation[-1].content))

    tally, used = Tally(), []
    for wave in range(WAVES):
        for episode in episodes(ScriptedPolicy(reply), seed + wave * count, count, seats=count):
            tally.note(episode)
        used.append(memory())
    return tally, used


def soak(seed: int, count: int, folder: Path) -> Found:
    """`count` episodes a wave of scripted ones, and as many in all through the endpoint."""
    began = time.monotonic()
    plain, used = scripted(count, seed)
    failures = plain.wrong + plain.missing(count * WAVES)
    if plain.outcomes["unscored"]:
        failures.append(f"{plain.outcomes['unscored']} scripted episodes are unscored")
    if used[-1] - used[0] > GROWTH:
        failures.append(f"memory grew from {used[0] >> 20} to {used[-1] >> 20} MiB")
    seconds = time.monotonic() - began

    def fault(body: Body, times: int) -> str:
        drawn = int(chance(seed, body.get("seed"), body["messages"], times) / SHARE)
        return FAULTS[drawn] if drawn < len(FAULTS) else ""

    def reply(body: Body) -> str:
        last = body["messages"][-1]["content"]
        return say(int(last)) if last.isdecimal() else "Hello"

    tally, used_there = Tally(), []
    with served(reply, fault) as (url, server):
        settings = ModelSettings(concurrency=64, timeout=2.0, retries=3, patience=60.0)
        policy = EndpointPolicy(url, parse_address(url), settings)
        manners = Manners(policy)
        for wave in range(WAVES):
            for episode in episodes(policy, seed + wave * count, count // WAVES, seats=1024):
                tally.note(episode)
            used_there.append(memory())
    failures += tally.wrong + tally.missing(count // WAVES * WAVES)
    if used_there[-1] - used_there[0] > GROWTH:
        failures.append(f"memory grew from {used_there[0] >> 20} to {used_there[-1] >> 20} MiB")
    if manners.early:
        failures.append(f"{manners.early} requests were begun before a 429 had said they might")
    # A stalled machine decides this one as well, so short versions only report it.
    if count >= COUNT and tally.longest > 30:
        failures.append(f"no episode ended for {tally.longest:.0f} s")
    figures: dict[str, int | float | str] = {
        "scripted episodes": plain.outcomes.total(),
        "open at once": count,
        "scripted episodes a second": round(plain.outcomes.total() / seconds),
        "MiB after each wave": " ".join(str(u >> 20) for u in used),
        "endpoint episodes": tally.outcomes.total(),
        "scored": tally.outcomes["scored"],
        "unscored": tally.outcomes["unscored"],
        "requests": server.requests,
        "faults": server.committed.total(),
        **{f"fault {name}": server.committed[name] for name in FAULTS},
        "connections at once": server.most,
        "heard 429": manners.heard,
        "begun before a 429 allowed": manners.early,
        "longest silence, seconds": round(tally.longest, 1),
        "endpoint MiB after each wave": " ".join(str(u >> 20) for u in used_there),
    }
    return Found(figures, tuple(failures[:50]))
