"""Rounds played by hand: rewards are given, so that what follows can be checked by hand."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from agents import MethodContext
from harness.policies.base import Loss, Policy, Sample, Sampling, Step
from harness.policies.scripted import ScriptedPolicy
from harness.round_data import Group, Rollouts, Round
from harness.seeds import Seeds
from harness.types import (
    Assignment,
    Completion,
    Ending,
    Episode,
    Finish,
    SystemPrompt,
    Task,
    Tokens,
    Turn,
)


class LearningPolicy(ScriptedPolicy):
    """A scripted policy that also keeps what it was asked to learn."""

    def __init__(self, reply=lambda request: "ok"):
        super().__init__(reply, "scripted:learning", tokens=True)
        self.updates: list[tuple[list[Sample], Loss, Step]] = []

    @property
    def reference(self) -> Policy:
        return self

    def update(self, samples: Sequence[Sample], loss: Loss, step: Step) -> dict[str, float]:
        self.updates.append((list(samples), loss, step))
        self.version += 1
        return {"loss": 0.5, "sequences": float(len(samples))}

    def save(self, folder: Path) -> None:
        (folder / "version").write_text(str(self.version))

    def load(self, folder: Path) -> None:
        self.version = int((folder / "version").read_text())


class Stage:
    """Builders for evidence."""

    LearningPolicy = LearningPolicy
    root = SystemPrompt("Be brief.", ("Check the sign.",))

    @staticmethod
    def task(number: int) -> Task:
        return Task("train", number)

    @staticmethod
    def round(index: int = 0, tasks: int = 2, prompts: int = 2, samples: int = 2, seed: int = 7):
        numbers = tuple(Task("train", 10 * index + n) for n in range(tasks))
        return Round(index, numbers, prompts, samples, Seeds(seed).child("round", index))

    @staticmethod
    def episode(cast: Assignment, position: int, reward: float | None, turns: int = 1) -> Episode:
        """`reward` None is an episode that could not be scored; the text names task and sample."""
        sample, number = cast.first + position, cast.task.seed
        words = tuple(range(100 * number + sample, 100 * number + sample + 2))
        said = tuple(
            Turn(
                f"problem {number} turn {turn}",
                Completion(
                    f"reply {number}/{sample}/{turn}",
                    Finish.STOP,
                    2,
                    Tokens((1, turn), words, (-0.5, -0.25)),
                ),
                0.0,
            )
            for turn in range(turns)
        )
        ending = Ending.FAILED if reward is None else Ending.TERMINATED
        return Episode(
            cast.prompt.id,
            cast.task,
            sample,
            0,
            said,
            ending,
            reward or 0.0,
            success=reward == 1.0,
            feedback=f"feedback {number}/{sample}",
            answer=f"answer {number}",
        )

    def play(self, round: Round, casts: Sequence[Assignment], reward, turns: int = 1) -> Rollouts:
        """Every cast episode, with `reward(prompt, task number, sample)`."""
        groups = [
            Group(
                cast,
                tuple(
                    self.episode(
                        cast, i, reward(cast.prompt, cast.task.seed, cast.first + i), turns
                    )
                    for i in range(cast.samples)
                ),
            )
            for cast in casts
        ]
        return Rollouts(round, tuple(groups))

    def table(self, rewards: dict[SystemPrompt, Sequence[Sequence[float | None]]]) -> Rollouts:
        """Rollouts from rewards by prompt: one row a task, one number a sample."""
        tasks = max(len(rows) for rows in rewards.values())
        round = self.round(tasks=tasks, prompts=len(rewards))
        groups = []
        for prompt, rows in rewards.items():
            for task, row in zip(round.tasks, rows, strict=False):
                cast = Assignment(prompt, task, len(row))
                episodes = tuple(self.episode(cast, i, r) for i, r in enumerate(row))
                groups.append(Group(cast, episodes))
        return Rollouts(round, tuple(groups))

    def context(self, policy: Policy | None = None, reflector: Policy | None = None, **changes):
        policy = policy or LearningPolicy()
        given = {
            "initial_prompt": self.root,
            "policy": policy,
            "reflection_model": reflector or ScriptedPolicy(self.reflect),
            "rollout_sampling": Sampling(0.7, 1.0, 8),
            "reflection_sampling": Sampling(0.7, 1.0, 64),
        }
        return MethodContext(**(given | changes))

    @staticmethod
    def solves(prompt, task, sample):
        """More principles, more right samples; every problem stays mixed for a while."""
        return float(sample % 4 < len(prompt.principles))

    def rounds(self, method, count, reward=None, start=0, **shape):
        """Play `count` rounds by hand; the reports."""
        reports = []
        for index in range(start, start + count):
            round = self.round(index, **({"tasks": 2, "prompts": 3, "samples": 4} | shape))
            rollouts = self.play(round, method.assign(round), reward or self.solves)
            reports.append(method.learn(rollouts))
        return reports

    @staticmethod
    def cells(casts):
        """Assignments as (prompt id, task number, samples, first)."""
        return [(c.prompt.id, c.task.seed, c.samples, c.first) for c in casts]

    @staticmethod
    def stage(request) -> str:
        """The stage of a reflection request, from its id."""
        return request.id.split("/")[2]

    def reflect(self, request) -> str:
        """A reflector with one piece of advice per problem, named after what it was asked."""
        stage, _, item = request.id.removeprefix("reflect/").partition("/")[2].partition("/")
        return {
            "summarise": f"summary of {item}",
            "critique": f"diagnosis of {item}",
            "propose": f"ADD: Advice from {item}.",
            "aggregate": "NONE",
            "crossover": "ADD: Borrowed advice.",
            "rewrite": f"```\nBe brief, {request.seed % 1000}.\n```",
        }[stage]


@pytest.fixture
def stage() -> Stage:
    return Stage()
