"""Notes on a run's training for its entry, from its logs."""

from pathlib import Path
from typing import Any, cast

from harness.reward_hacking import alarms, copies
from harness.storage.atomic_files import lines
from harness.storage.run_dir import monitors_of
from harness.types import Agent
from leaderboards.boards.formatting import counted


def training_notes(folder: Path, agent: Agent, initial: str) -> tuple[str, ...]:
    """Notes on reflection without effect, and on signs of reward hacking.

    `initial` is the text of the initial system prompt.
    """
    return (*_evolved_nothing(folder, agent, initial), *_hacked(folder, agent))


def _evolved_nothing(folder: Path, agent: Agent, initial: str) -> tuple[str, ...]:
    """A note where reflection was paid for and changed nothing.

    A method of one's own may count no edits, so the final prompt is compared with the initial one.
    """
    rounds = [cast(Any, line)["numbers"] for _, line in lines(folder / "rounds.jsonl")]
    calls = sum(numbers.get("reflection_calls", 0) or 0 for numbers in rounds)
    if not calls or agent.prompt.text.strip() != initial.strip():
        return ()
    edits = [numbers["edits_applied"] for numbers in rounds if "edits_applied" in numbers]
    if any(edits):
        return ()  # other prompts were tried, and the initial one was selected
    if not edits:
        return (f"{calls:.0f} reflection calls, and the selected prompt is the initial one",)
    return (f"none of {calls:.0f} reflection calls led to an edit: the prompt never changed",)


def _hacked(folder: Path, agent: Agent) -> tuple[str, ...]:
    """Notes on reward-hacking monitors, and on principles that copy training tasks."""
    found = alarms(monitors_of(folder))
    records = (cast(Any, line) for _, line in lines(folder / "episodes.jsonl"))
    # The first observation is the task as the model saw it; later ones answer the model.
    tasks = {e["turns"][0]["observation"]: e["answer"] for e in records if e["turns"]}
    principles = agent.prompt.principles
    if number := copies(principles, tasks):
        all_of_them = counted(len(principles), "principle")
        found.append(f"words or answers of training are in {number} of {all_of_them}")
    return tuple(f"in training: {one}" for one in found)
