"""Overhead of the harness with a policy that costs nothing, and cost of grading.

All in one process: nothing here is compared with another program. CPU seconds.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import envs
from benchmarks.speed.race import Row
from benchmarks.speed.steps import ROUNDS, remarked, staged
from benchmarks.speed.work import WORKS
from envs.grading.boxed_answer import both_whole
from envs.grading.pool import Grader
from harness.arena import Arena
from harness.budget import BudgetPlan, Shape
from harness.callbacks import Callback
from harness.metered import Meter, metered
from harness.policies import open_policy
from harness.policies.base import Sampling
from harness.runs.build import make_method
from harness.seeds import Seeds
from harness.settings.model import ModelSettings
from harness.types import Assignment, SystemPrompt

AT_ONCE = 1000
EPISODES = 100_000
GROWTH_MB = 8  # pages an allocator may keep over that many episodes
GRADED = 20_000
REPLY = "We add the numbers one by one and carry what is over ten to the next place. " * 10


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def resident() -> float:
    """Megabytes of this process now, not at its peak."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def overhead(repeats: int) -> Iterator[Row]:
    """Environment, rollout and meter of 1,000 one-turn episodes that are all open at once."""
    policy = metered(open_policy("scripted:constant=Answer: 1", ModelSettings()), Meter(Callback()))
    rounds = max(repeats, EPISODES // AT_ONCE)
    shape, tasks = Shape(AT_ONCE // 10, 1, 10), AT_ONCE // 10
    plan = BudgetPlan(shape, rounds, 0)
    make = lambda split: envs.make("arithmetic", split)  # noqa: E731
    arena = Arena(make, tasks, policy, plan, Sampling(), Seeds(0))
    prompt = SystemPrompt("Work it out.")
    times, memory = [], []
    for round in arena.rounds():
        cast = [Assignment(prompt, t, 10) for t in round.tasks]
        times.append(1000 * cpu(lambda cast=cast: arena.rollout(cast)) / AT_ONCE)  # type: ignore[misc]
        if round.index in (rounds // 10, rounds - 1):
            memory.append(resident())
    detail = f"{AT_ONCE:,} at once, {rounds} times"
    yield Row("harness: ms per episode with a policy that costs nothing", times, 1.0, True, detail)
    between = rounds * AT_ONCE * 9 // 10
    detail = f"{memory[0]:.0f} MB after the first tenth; over the other {between:,} episodes"
    yield Row("harness: MB of memory growth", [memory[1] - memory[0]], GROWTH_MB, True, detail)


def proposals(repeats: int) -> Iterator[Row]:
    """Rating, prompting, parsing and applying edits, with a reflection model that costs nothing."""
    work = replace(WORKS["pocket"], model="scripted:constant=ADD: Check the last digit first.")
    with tempfile.TemporaryDirectory() as folder:
        task = {"threads": 1, "method": "evolution", "env": "arithmetic"}
        stage = staged(work, task, folder)
        learner = make_method(stage)
        times = []
        for round, _ in zip(stage.arena.rounds(), range(min(repeats + 1, ROUNDS)), strict=False):
            rollouts = remarked(stage.arena.rollout(learner.assign(round)))
            before = stage.meter.spent.reflection_seconds
            began = time.process_time()
            report = learner.learn(rollouts)
            spent = time.process_time() - began
            spent -= stage.meter.spent.reflection_seconds - before
            if round.index:
                times.append(1000 * spent / max(1.0, report.metrics["edits_proposed"]))
        stage.close()
    yield Row("evolution: ms per proposed edit, without the model", times, 1.0, True)


def grading(repeats: int) -> Iterator[Row]:
    """Whole numbers a second, and agreement with the workers over MATH-500 where it is at hand."""
    with Grader(workers=1) as grader:
        text = REPLY + "So it is \\boxed{1234}."

        def batch() -> None:
            for answer in range(GRADED):
                grader.grade(text, str(answer))

        rates = [GRADED / cpu(batch) for _ in range(repeats)]
        detail = f"completions of {len(text)} characters"
        yield Row("grading: whole numbers per CPU second", rates, 20_000, False, detail)
        folder = os.environ.get("HARNESS_DATA_DIR", "")
        if not folder:
            print("grading: not compared on MATH-500, because HARNESS_DATA_DIR is not set")
            return
        rows = (Path(folder) / "math500.jsonl").read_text(encoding="utf-8").splitlines()
        answers = [json.loads(row)["answer"] for row in rows]
        yield agreement(grader, answers)


def agreement(grader: Grader, answers: list[str]) -> Row:
    """Share of right answers and near misses on which both ways of grading agree."""
    whole = [a for a in answers if both_whole(a, a)]
    same = asked = 0
    for answer in whole:
        number = int(answer)
        for box in map(str, (number, number + 1, number - 1, -number, 10 * number)):
            if both_whole(box, answer):
                asked += 1
                quick = grader.grade(f"\\boxed{{{box}}}", answer).success
                same += quick == grader._ask(box, answer, 60)["right"]
    detail = f"{asked} pairs of {len(whole)} whole answers among {len(answers)}"
    return Row("grading: share that agrees with the workers", [same / asked], 1.0, False, detail)


def costs(repeats: int) -> Iterator[Row]:
    """All of them."""
    yield from overhead(repeats)
    yield from proposals(repeats)
    yield from grading(repeats)
