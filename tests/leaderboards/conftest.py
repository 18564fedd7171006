"""Entries made by hand: two tasks and two samples unless a test asks for others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from leaderboards.records.entry import Entry, Outcome, Prompt, Track, tasks_hash
from leaderboards.records.provenance import Provenance, Spent

Rewards = Mapping[str, Sequence[float | None]]


def _track(rewards: Rewards, **changes: Any) -> Track:
    track = Track(
        env="arithmetic-v1",
        env_fingerprint="0" * 64,
        briefing_hash="1" * 64,
        model="smollm2",
        weights="2" * 64,
        quantisation="",
        rendering="chat template, append-only",
        placement="system",
        reflector="reference",
        engine="hf",
        mode="deterministic",
        temperature=1.0,
        top_p=1.0,
        max_tokens=256,
        eval_temperature=0.6,
        eval_top_p=0.95,
        budget_episodes=480,
        test_tasks=len(rewards),
        test_tasks_hash=tasks_hash(rewards),
        samples_per_task=len(next(iter(rewards.values()))),
        grader="1",
    )
    return replace(track, **changes)


def _outcome(task: str, sample: int, reward: float | None) -> Outcome:
    if reward is None:
        return Outcome(task, sample, "unscored", None, None, 0)
    return Outcome(task, sample, "scored", reward, reward == 1, 40, reply="12")


def _entry(
    rewards: Rewards | None = None, track: Mapping[str, Any] | None = None, **changes: Any
) -> Entry:
    rewards = rewards if rewards is not None else {"test:0": [1, 0], "test:1": [1, 1]}
    entry = Entry(
        track=_track(rewards, **(track or {})),
        method="espl",
        config={"learning_rate": 4e-05, "loss": {"name": "importance_sampling"}},
        seed=0,
        outcomes=tuple(
            _outcome(task, sample, reward)
            for task, samples in rewards.items()
            for sample, reward in enumerate(samples)
        ),
        spent=Spent(480, 52_000, 6_100, 160, 4, 16, 93.5),
        prompt=Prompt("Solve the problem.", ("Carry the one.",)),
        provenance=Provenance(
            commit="0123abc",
            dirty=False,
            versions={"python": "3.11.7", "torch": "2.13.0"},
            device="cpu",
            threads=2,
            created="2026-01-31T12:00:00Z",
            command=("harness", "run", "--env", "arithmetic"),
        ),
    )
    return replace(entry, **changes)


@pytest.fixture
def make_entry() -> Callable[..., Entry]:
    """`make_entry(rewards by task, track={field: value}, seed=…, method=…)`."""
    return _entry
