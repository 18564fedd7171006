"""Prompts, tasks and episodes as JSON records of a method's state. Token ids are left out.

The keys are part of checkpoints: they stay as they are, so that old runs resume.
"""

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
    """A prompt as a record that `population.prompt_from_json` reads."""
    return {
        "id": prompt.id,
        "text": prompt.text,
        "briefing": prompt.briefing,
        "principles": list(prompt.principles),
        "parents": list(prompt.parents),
        "origin": prompt.origin,
    }


def task_from_text(text: str) -> Task:
    """The task from its text, as in `train:17`.

    Raises:
        RunError: The text is no task.
    """
    split, _, seed = text.partition(":")
    for known in get_args(Split):
        if split == known and seed.isdecimal():
            return Task(known, int(seed))
    raise RunError(
        f"The checkpoint names a task '{text}', which should read like train:17; it is damaged: "
        "restore it from a copy."
    )


def episode_record(episode: Episode) -> dict[str, JSON]:
    """An episode as a record, with what reflection needs of it."""
    return {
        "prompt": episode.prompt_id,
        "task": str(episode.task),
        "sample": episode.sample,
        "version": episode.policy_version,
        "turns": [_turn_record(turn) for turn in episode.turns],
        "ending": episode.ending.value,
        "reward": episode.reward,
        "success": episode.success,
        "feedback": episode.feedback,
        "answer": episode.answer,
    }


def _turn_record(turn: Turn) -> list[JSON]:
    """A turn; with the thought only where a server told it apart, as records had none before."""
    said = turn.completion
    apart = [said.reasoning] if said.reasoning else []
    return [turn.observation, said.text, said.finish.value, said.sampled, *apart]


def episode_from_record(record: Mapping[str, Any]) -> Episode:
    """The episode from its record, without tokens and turn rewards."""
    turns = tuple(
        Turn(
            observation,
            Completion(text, Finish(finish), sampled, reasoning=thought[0] if thought else ""),
            0.0,
        )
        for observation, text, finish, sampled, *thought in record["turns"]
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
