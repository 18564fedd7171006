"""Worlds that say they are slow step side by side, and no clock decides what comes of it."""

import threading
import time
from typing import Any

from harness.env_pool import EnvPool
from harness.policies.base import Sampling
from harness.rollout import RolloutConfig, rollout
from harness.seeds import Seeds
from harness.types import Assignment, Ending, SystemPrompt, Task

ROOT = SystemPrompt("Say the number.")
CASTS = [Assignment(ROOT, Task("train", n), 2) for n in range(6)]


def number(request):
    return request.conversation[1].content.removeprefix("number ")


def slow(echo: Any, wait, together=4):
    """Echo worlds that need `wait(world)` seconds for a step, and count how many step at once."""

    class Slow(echo):
        side_by_side = together
        busy, most = 0, 0
        lock = threading.Lock()

        def step(self, action):
            with Slow.lock:
                Slow.busy += 1
                Slow.most = max(Slow.most, Slow.busy)
            time.sleep(wait(self))
            with Slow.lock:
                Slow.busy -= 1
            return super().step(action)

    return Slow


def played(world, policy):
    table = RolloutConfig(policy, EnvPool(world), Sampling(), Seeds(0))
    return [(place, e.task, e.sample, e.reward, e.ending) for place, e in rollout(CASTS, table)]


def test_slow_worlds_step_side_by_side_but_never_more_than_they_allow(echo, talk):
    world = slow(echo, lambda _: 0.05)
    outcomes = played(world, talk(number))
    assert len(outcomes) == 12
    assert 2 <= world.most <= 4


def test_slow_worlds_come_to_what_quick_ones_come_to(echo, talk):
    quick = played(echo, talk(number))
    assert sorted(played(slow(echo, lambda _: 0.0), talk(number))) == sorted(quick)


def test_who_is_slow_changes_neither_order_nor_requests(echo, talk):
    even, odd = talk(number), talk(number)
    one = played(slow(echo, lambda w: 0.03 * (w.task % 2 == 0)), even)
    other = played(slow(echo, lambda w: 0.03 * (w.task % 2)), odd)
    assert one == other
    assert [r.id for r in even.inner.seen] == [r.id for r in odd.inner.seen]


def test_failures_in_slow_worlds_stay_with_their_episode(echo, talk):
    policy = talk(
        lambda r: "crash" if "/train:2/" in r.id else None if "/train:4/" in r.id else number(r)
    )
    failed = {
        task.seed
        for _, task, _, _, e in played(slow(echo, lambda _: 0.0), policy)
        if e is Ending.FAILED
    }
    assert failed == {2, 4}


def test_a_slow_world_that_cannot_be_made_fails_each_episode(talk):
    def broken(split):
        raise OSError("no daemon")

    outcomes = played(broken, talk(number))
    assert len(outcomes) == 12
    assert all(ending is Ending.FAILED for *_, ending in outcomes)
