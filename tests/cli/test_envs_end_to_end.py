"""Worlds that need nothing installed train a real model for two rounds, and are played by a model
behind an endpoint; several turns are one growing sequence of tokens.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from standin import completion, served

import envs
import harness
from harness.env_pool import EnvPool
from harness.policies import open_policy
from harness.policies.base import Sampling
from harness.rollout import RolloutConfig, rollout
from harness.seeds import Seeds
from harness.settings.model import ModelSettings
from harness.types import Assignment, SystemPrompt, Task

SMALL = ["world.hops=1", "world.results=1", "world.passage_characters=120"]
SEARCH = '<tool_call>{"name": "search", "arguments": {"query_list": ["Orrel"]}}</tool_call>'
BUDGET = ["budget.tasks=2", "budget.prompts=2", "budget.samples=2"]
WORLDS = {
    "guess_number": ([], ["Guess: 50", "Guess: 25"]),
    "twenty_questions": ([], ["Question: is it alive?", "Guess: stone"]),
    "search/fictional": (SMALL, [SEARCH, "Answer: nobody"]),
    "FrozenLake-v1": (["world.max_steps=5"], ["Action: 1", "Action: 2"]),
    "jsonl": (["world.grader=number"], ["Answer: 4"]),
}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A file of sums."""
    path = tmp_path / "sums.jsonl"
    rows = [
        {"problem": f"What is {a} + {b}?", "answer": str(a + b)} for a in range(9) for b in range(5)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _run(world: str, questions: Path, out: Path, **more: object) -> list[dict[str, object]]:
    env = f"jsonl:{questions}" if world == "jsonl" else world
    summary = harness.run(
        env=env,
        test_tasks=3,
        samples=1,
        run_dir=out,
        settings=[*WORLDS[world][0], *BUDGET, "sampling.max_tokens=24"],
        **more,
    )
    assert len(summary.entries[0].outcomes) == 3
    log = summary.folders[0] / "episodes.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.parametrize("world", WORLDS)
def test_a_real_model_trains_on_it(world: str, questions: Path, tmp_path: Path) -> None:
    played = _run(
        world,
        questions,
        tmp_path / "run",
        methods=["espl"],
        model="pocket",
        preset="pocket",
        episodes=16,
    )
    assert len(played) == 16
    assert {e["ending"] for e in played} <= {"terminated", "truncated", "overlong"}


@pytest.mark.parametrize("world", WORLDS)
def test_an_endpoint_model_is_evaluated_on_the_environment(
    world: str, questions: Path, tmp_path: Path
) -> None:
    said = WORLDS[world][1]

    def answer(body: dict[str, object], earlier: int) -> tuple[int, object]:
        turn = sum(m["role"] == "assistant" for m in body["messages"])  # type: ignore[attr-defined]
        return 200, completion(said[turn % len(said)])

    with served(answer) as (url, seen):
        _run(world, questions, tmp_path / "run", methods=["base"], model=url, preset="laptop")
    turns = {len(body["messages"]) for body in seen}
    assert len(turns) > 1 or len(said) == 1


def test_turns_are_one_growing_sequence_of_tokens() -> None:
    policy = open_policy("pocket", ModelSettings(device="cpu", threads=1, batch_rows=8))
    worlds = EnvPool(lambda split: envs.make("guess_number", split))
    table = RolloutConfig(policy, worlds, Sampling(max_tokens=12), Seeds(3))
    prompt = SystemPrompt("Guess the number. Reply with Guess: and a number.")
    several = 0
    for _, episode in rollout([Assignment(prompt, Task("train", n), 2) for n in range(3)], table):
        tokens = [turn.completion.tokens for turn in episode.turns]
        for before, after in pairwise(tokens):
            assert before is not None and after is not None
            said = before.prompt + before.sampled
            assert after.prompt[: len(said)] == said
            several += 1
    assert several
