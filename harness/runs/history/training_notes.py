"""Notes on a run's training for its entry, from its logs."""

from pathlib import Path
from typing import Any, cast

from harness.reward_hacking import alarms, copies
from harness.storage.atomic_files import lines
from harness.storage.run_dir import monitors_of
from harness.types import Agent


def training_notes(folder: Path, agent: Agent) -> tuple[str, ...]:
    """Notes on reflection without effect, and on signs of reward hacking."""
    return (*_evolved_nothing(folder), *_hacked(folder, agent))


def _evolved_nothing(folder: Path) -> tuple[str, ...]:
    """A note where reflection was paid for and changed nothing."""
    rounds = [cast(Any, line)["numbers"] for _, line in lines(folder / "rounds.jsonl")]
    calls = sum(numbers.get("reflection_calls", 0) for numbers in rounds)
    if not calls or any(numbers.get("edits_applied", 0) for numbers in rounds):
        return ()
    return (f"none of {calls:.0f} reflection calls led to an edit: the prompt never changed",)


def _hacked(folder: Path, agent: Agent) -> tuple[str, ...]:
    """Notes on reward-hacking monitors, and on principles that copy training tasks."""
    found = alarms(monitors_of(folder))
    records = (cast(Any, line) for _, line in lines(folder / "episodes.jsonl"))
    # The first observation is the task as the model saw it; later ones answer the model.
    tasks = {e["turns"][0]["observation"]: e["answer"] for e in records if e["turns"]}
    principles = agent.prompt.principles
    if number := copies(principles, tasks):
        found.append(f"{number} of {len(principles)} principles hold words or answers of training")
    return tuple(f"in training: {one}" for one in found)
