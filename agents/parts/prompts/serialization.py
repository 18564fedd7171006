"""Prompts, tasks and episodes as JSON, for what a method remembers. Token ids are left out."""

from collections.abc import Mapping
from typing import Any, get_args

from harness.errors import RunError
from harness.types import (
    JSON,
    Completion,
    Ending,
    Episode,
    Finish,
    Split,
    SystemPrompt,
    Task,
    Turn,
)


def prompt_record(prompt: SystemPrompt) -> dict[str, JSON]:
    """What `population.prompt_from_json` reads back."""
    return {
        "id": prompt.id,
        "text": prompt.text,
        "briefing": prompt.briefing,
        "principles": list(prompt.principles),
        "parents": list(prompt.parents),
        "origin": prompt.origin,
    }


def task_from_text(text: str) -> Task:
    """The task that prints as this; anything else is a run error."""
    split, _, seed = text.partition(":")
    for known in get_args(Split):
        if split == known and seed.isdecimal():
            return Task(known, int(seed))
    raise RunError(
        f"The checkpoint names a task '{text}', which should read like train:17; it is damaged: "
        "restore it from a copy."
    )


def episode_record(episode: Episode) -> dict[str, JSON]:
    """All that reflection reads of an episode."""
    return {
        "prompt": episode.prompt_id,
        "task": str(episode.task),
        "sample": episode.sample,
        "version": episode.policy_version,
        "turns": [
            [t.observation, t.completion.text, t.completion.finish.value, t.completion.sampled]
            for t in episode.turns
        ],
        "ending": episode.ending.value,
        "reward": episode.reward,
        "success": episode.success,
        "feedback": episode.feedback,
        "answer": episode.answer,
    }


def episode_from_record(record: Mapping[str, Any]) -> Episode:
    """The episode again, without tokens and turn rewards."""
    turns = tuple(
        Turn(said, Completion(text, Finish(finish), sampled), 0.0)
        for said, text, finish, sampled in record["turns"]
    )
    return Episode(
        record["prompt"],
        task_from_text(record["task"]),
        record["sample"],
        record["version"],
        turns,
        Ending(record["ending"]),
        record["reward"],
        record["success"],
        record["feedback"],
        record["answer"],
    )
